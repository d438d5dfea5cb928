//! Straight-through Gumbel-softmax (Jang et al., 2017; the paper's eq. 2).
//!
//! As the temperature falls, its gradient vanishes almost surely and turns into rare spikes of
//! order 1/τ; the draw itself does not depend on τ. The backward pass may therefore keep a floor.
//!
//! Axes: m position of the caption, v token of the language model.

use tch::{Kind, Tensor};

use crate::torch::Generator;

/// How soft the backward pass is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// τ of eq. 2; above 0.
    pub tau: f64,
    /// What τ does not fall below in the backward pass; 0 is the paper's.
    pub floor: f64,
}

impl Temperature {
    /// τ as the backward pass takes it.
    pub fn backward(self) -> f64 {
        self.tau.max(self.floor)
    }
}

/// A draw of one token at each position.
pub struct Choices {
    /// `[m, v]`, float32: one-hot in value, softmax((logits + noise) / τ) in gradient.
    pub choices_mv: Tensor,
    /// `[m]`, int64: the tokens drawn.
    pub tokens_m: Tensor,
}

/// Draws from `logits_mv` (any floating dtype; computed in float32) under standard Gumbel noise
/// `noise_mv`, float32. Tokens where `barred_v` (bool) is true are never drawn and get no gradient.
///
/// Equal in value and gradient to `torch.nn.functional.gumbel_softmax(logits, tau, hard=True)` for
/// the same noise.
pub fn gumbel_softmax(
    logits_mv: &Tensor,
    noise_mv: &Tensor,
    barred_v: &Tensor,
    temperature: Temperature,
) -> Choices {
    let logits_mv = logits_mv.to_kind(Kind::Float).masked_fill(barred_v, f64::NEG_INFINITY);
    let perturbed_mv = logits_mv + noise_mv;
    let tokens_m = perturbed_mv.argmax(-1, false);
    let soft_mv = (perturbed_mv / temperature.backward()).softmax(-1, Kind::Float);
    let hard_mv = soft_mv.zeros_like().scatter_value(-1, &tokens_m.unsqueeze(-1), 1.0);
    Choices { choices_mv: hard_mv - soft_mv.detach() + soft_mv, tokens_m }
}

/// Standard Gumbel noise, float32 on the CPU, in `sizes`' shape.
pub fn gumbel_noise(generator: &mut Generator, sizes: &[i64]) -> Tensor {
    // A float32 draw has 24 bits: too coarse a tail for a vocabulary of a hundred thousand. Two
    // make 48, and half a step more keeps them between 0 and 1.
    const STEP: f64 = 1.0 / (1 << 24) as f64;
    let coarse = generator.rand(sizes).to_kind(Kind::Double);
    let fine = generator.rand(sizes).to_kind(Kind::Double);
    let uniform = coarse + (fine + STEP / 2.0) * STEP;
    (-(-uniform.log()).log()).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barred(v: i64, tokens: &[i64]) -> Tensor {
        let barred_v = Tensor::zeros([v], (Kind::Bool, tch::Device::Cpu));
        for &token in tokens {
            let _ = barred_v.get(token).fill_(1);
        }
        barred_v
    }

    /// The gradient of Σ choices · weight, by the logits.
    fn gradient(
        logits: &Tensor,
        noise: &Tensor,
        weight: &Tensor,
        temperature: Temperature,
    ) -> Tensor {
        let logits = logits.detach().set_requires_grad(true);
        let barred_v = barred(logits.size()[1], &[1, 4]);
        let choices = gumbel_softmax(&logits, noise, &barred_v, temperature);
        (choices.choices_mv * weight).sum(Kind::Float).backward();
        logits.grad()
    }

    #[test]
    fn a_draw_is_one_hot_and_never_a_barred_token() {
        let mut generator = Generator::new(1);
        let logits_mv = generator.randn(&[300, 12]);
        let noise_mv = gumbel_noise(&mut generator, &[300, 12]);
        let temperature = Temperature { tau: 0.3, floor: 0.0 };
        let choices = gumbel_softmax(&logits_mv, &noise_mv, &barred(12, &[0, 7]), temperature);
        let tokens: Vec<i64> = choices.tokens_m.shallow_clone().try_into().unwrap();
        assert!(tokens.iter().all(|token| ![0, 7].contains(token)));
        assert!((0..12).filter(|token| ![0, 7].contains(token)).all(|t| tokens.contains(&t)));
        let one_hot = choices.tokens_m.one_hot(12);
        assert!(f64::try_from((choices.choices_mv - one_hot).abs().max()).unwrap() < 1e-6);
    }

    #[test]
    fn the_floor_softens_the_gradient_alone() {
        let mut generator = Generator::new(2);
        let logits_mv = generator.randn(&[5, 12]);
        let noise_mv = gumbel_noise(&mut generator, &[5, 12]);
        let weight_mv = generator.randn(&[5, 12]);
        let tokens = |temperature| {
            gumbel_softmax(&logits_mv, &noise_mv, &barred(12, &[]), temperature).tokens_m
        };
        let cold = Temperature { tau: 1e-4, floor: 0.0 };
        let floored = Temperature { tau: 1e-4, floor: 0.5 };
        let plain = Temperature { tau: 0.5, floor: 0.0 };
        assert_eq!(tokens(cold), tokens(plain));
        assert_eq!(tokens(floored), tokens(plain));
        let grad = |temperature| gradient(&logits_mv, &noise_mv, &weight_mv, temperature);
        assert_eq!(grad(floored), grad(plain));
        assert_ne!(grad(cold), grad(plain));
        assert_eq!(grad(plain).select(1, 4), Tensor::zeros([5], tch::kind::FLOAT_CPU));
    }

    #[test]
    fn noise_has_the_gumbel_distribution_up_to_its_tail() {
        let noise = gumbel_noise(&mut Generator::new(3), &[200_000]);
        let mean = noise.mean(Kind::Double).double_value(&[]);
        let variance = noise.var(true).double_value(&[]);
        // Euler's constant and π²/6, each within five standard errors.
        assert!((mean - 0.577_216).abs() < 5.0 * 1.2825 / 200_000f64.sqrt(), "{mean}");
        assert!((variance - 1.644_934).abs() < 0.04, "{variance}");
        for quantile in [0.001, 0.5, 0.999] {
            let bound = -(-f64::ln(quantile)).ln();
            let share = noise.le(bound).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            let error = (quantile * (1.0 - quantile) / 200_000f64).sqrt();
            assert!((share - quantile).abs() < 5.0 * error, "{quantile}: {share}");
        }
        assert!(noise.isfinite().all().int64_value(&[]) == 1);
    }
}
