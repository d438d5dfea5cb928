//! Llama 3's rotary frequencies.

use tch::{Device, Kind, Tensor};

use super::config::{RopeConfig, RopeStretch};

/// Angular frequencies `[head_width / 2]`, float32 on `device`: 1/θ^(2i/e), the long wavelengths
/// stretched as Llama 3.1 does (transformers, modeling_rope_utils.py,
/// `_compute_llama3_parameters`), in float32 throughout as there.
pub(super) fn frequencies(config: RopeConfig, head_width: i64, device: Device) -> Tensor {
    let exponents = Tensor::arange_start_step(0, head_width, 2, (Kind::Float, Device::Cpu));
    let powers =
        Tensor::from(config.theta).to_kind(Kind::Float).pow(&(exponents / head_width as f64));
    let frequencies = powers.reciprocal();
    match config.stretch {
        None => frequencies,
        Some(stretch) => stretched(&frequencies, stretch),
    }
    .to_device(device)
}

fn stretched(frequencies: &Tensor, stretch: RopeStretch) -> Tensor {
    let RopeStretch { factor, low_frequency: low, high_frequency: high, trained_positions } =
        stretch;
    let wavelengths = frequencies.reciprocal() * (2.0 * std::f64::consts::PI);
    // 0 where the wavelength is stretched in full, 1 where it is left alone.
    let kept =
        ((wavelengths.reciprocal() * trained_positions - low) / (high - low)).clamp(0.0, 1.0);
    frequencies * &kept + frequencies * (1.0 - kept) / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: RopeConfig = RopeConfig {
        theta: 500_000.0,
        stretch: Some(RopeStretch {
            factor: 8.0,
            low_frequency: 1.0,
            high_frequency: 4.0,
            trained_positions: 8192.0,
        }),
    };

    /// `ROPE_INIT_FUNCTIONS["llama3"]` for heads of width 128, at 0, 1, 30, 33, 40 and 63.
    #[test]
    fn the_published_frequencies_are_those_of_transformers() {
        let ours: Vec<f32> = Vec::try_from(frequencies(PUBLISHED, 128, Device::Cpu)).unwrap();
        for (index, expected) in EXPECTED {
            let relative = (ours[index] - expected).abs() / expected;
            assert!(relative < 1e-6, "{index}: {} instead of {expected}", ours[index]);
        }
    }

    const EXPECTED: [(usize, f32); 6] = [
        (0, 1.0),
        (1, 0.814_617_2),
        (30, 0.001_371_893_7),
        (33, 0.000_312_693_65),
        (40, 3.428_102_4e-5),
        (63, 3.068_926e-7),
    ];
}
