//! Stable Diffusion 3's training loss: rectified flow with noise levels from a shifted logit-normal
//! distribution (Esser et al., 2024, sections 2 and 3.1).
//!
//! Axes in names: b photo, c channel, h and w height and width.

use tch::{Kind, Tensor};

use super::draws::{Draws, Purpose};
use crate::config::DiffusionLoss;

/// What the transformer is shown and what it should answer.
pub struct Noised {
    /// (1 − σ) z + σ ε, `[b, c, h, w]`, float32.
    pub latents_bchw: Tensor,
    /// ε − z, `[b, c, h, w]`, float32.
    pub target_bchw: Tensor,
    /// σ, `[b]`, float32.
    pub sigmas_b: Tensor,
}

/// Adds noise to clean latents `[b, c, h, w]` (normalised, float32): σ `[b]` in 0…1, noise
/// `[b, c, h, w]` standard normal, all on one device.
pub fn noised(latents_bchw: &Tensor, noise_bchw: &Tensor, sigmas_b: Tensor) -> Noised {
    let sigmas_b111 = sigmas_b.view([-1, 1, 1, 1]);
    Noised {
        latents_bchw: (1.0 - &sigmas_b111) * latents_bchw + sigmas_b111 * noise_bchw,
        target_bchw: noise_bchw - latents_bchw,
        sigmas_b,
    }
}

/// The noise level of the photo at `place` in the batch: the logistic function of a normal draw,
/// moved towards noise by the scheduler's `shift`: sσ / (1 + (s − 1) σ).
pub fn noise_level(settings: &DiffusionLoss, shift: f64, draws: &Draws, place: u64) -> f64 {
    let normal = draws.generator(Purpose::NoiseLevel, place).randn(&[1]).double_value(&[0]);
    let logit = settings.noise_level_mean + settings.noise_level_deviation * normal;
    let sigma = 1.0 / (1.0 + (-logit).exp());
    crate::stable_diffusion::shifted(sigma, shift)
}

/// The squared error of `velocity` (any format) for each photo, the mean over its elements: `[b]`,
/// float32.
pub fn error_by_photo(velocity_bchw: &Tensor, target_bchw: &Tensor) -> Tensor {
    let error = velocity_bchw.to_kind(Kind::Float) - target_bchw;
    error.square().mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, Training};

    #[test]
    fn noise_levels_are_logit_normal_and_shifted() {
        let settings = Training::load(Preset::Default, None, &[]).unwrap().pictures;
        let level = |shift, place| noise_level(&settings, shift, &Draws::new(1, 2), place);
        let plain: Vec<f64> = (0..4000).map(|place| level(1.0, place)).collect();
        let logits: Vec<f64> = plain.iter().map(|s| (s / (1.0 - s)).ln()).collect();
        let mean = logits.iter().sum::<f64>() / 4000.0;
        let variance = logits.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.06 && (variance - 1.0).abs() < 0.08, "{mean} {variance}");
        for place in 0..20 {
            let s = plain[place as usize];
            assert!((level(3.0, place) - 3.0 * s / (1.0 + 2.0 * s)).abs() < 1e-12);
        }
    }

    #[test]
    fn the_target_is_the_velocity_from_photo_to_noise() {
        let clean = Tensor::from_slice(&[1.0f32, 2.0]).view([2, 1, 1, 1]);
        let noise = Tensor::from_slice(&[5.0f32, -2.0]).view([2, 1, 1, 1]);
        let noised = noised(&clean, &noise, Tensor::from_slice(&[0.25f32, 1.0]));
        let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
        assert_eq!(values(&noised.latents_bchw), [2.0, -2.0]);
        assert_eq!(values(&noised.target_bchw), [4.0, -4.0]);
        let error = error_by_photo(&Tensor::zeros_like(&clean), &noised.target_bchw);
        assert_eq!(values(&error), [16.0, 16.0]);
    }
}
