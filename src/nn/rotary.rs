//! Rotary position embedding (Su et al., 2021), in the layout that turns the two halves of a head.

use tch::{Kind, Tensor};

/// Cosines and sines of a run of positions, for all heads alike. Never trained.
pub struct Rotary {
    /// `[.., t, e]`, each half of the last axis holding every frequency once.
    cos_te: Tensor,
    /// As `cos_te`, with its first half negated, so that turning is two products and a sum.
    sin_te: Tensor,
}

impl Rotary {
    /// For `positions [t]` or `[b, 1, t]` (integers or float32) under angular `frequencies
    /// [e / 2]` in float32; angles are computed in float32 and stored in `kind`.
    pub fn new(positions: &Tensor, frequencies: &Tensor, kind: Kind) -> Self {
        let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * frequencies;
        let (cos, sin) = (angles.cos(), angles.sin());
        Self {
            cos_te: Tensor::cat(&[&cos, &cos], -1).to_kind(kind),
            sin_te: Tensor::cat(&[&-&sin, &sin], -1).to_kind(kind),
        }
    }

    /// The `count` positions from the `first` on.
    #[must_use]
    pub fn narrow(&self, first: i64, count: i64) -> Self {
        Self {
            cos_te: self.cos_te.narrow(-2, first, count),
            sin_te: self.sin_te.narrow(-2, first, count),
        }
    }

    /// Turns `x [b, h, t, e]`; same shape and dtype.
    pub fn turn(&self, x: &Tensor) -> Tensor {
        let half = self.cos_te.size()[self.cos_te.dim() - 1] / 2;
        x * &self.cos_te + x.roll([half], [-1]) * &self.sin_te
    }
}

impl Clone for Rotary {
    /// Shares the tables.
    fn clone(&self) -> Self {
        Self { cos_te: self.cos_te.shallow_clone(), sin_te: self.sin_te.shallow_clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_turns_by_position_times_frequency() {
        let rotary = Rotary::new(
            &Tensor::from_slice(&[0i64, 3]),
            &Tensor::from_slice(&[1.0f32, 0.1]),
            Kind::Float,
        );
        let x = Tensor::from_slice(&[1.0f32, 2.0, 0.5, -1.0]).view([1, 1, 1, 4]);
        let turned: Vec<f32> =
            Vec::try_from(rotary.turn(&x.expand([1, 1, 2, 4], false)).flatten(0, -1)).unwrap();
        assert_eq!(turned[..4], [1.0, 2.0, 0.5, -1.0]);
        let (sin, cos) = 3.0f32.sin_cos();
        assert!((turned[4] - (cos - 0.5 * sin)).abs() < 1e-6);
        assert!((turned[6] - (0.5 * cos + sin)).abs() < 1e-6);
        let (sin, cos) = 0.3f32.sin_cos();
        assert!((turned[5] - (2.0 * cos + sin)).abs() < 1e-6);
        assert!((turned[7] - (-cos + 2.0 * sin)).abs() < 1e-6);
    }

    #[test]
    fn a_slice_equals_its_own_positions() {
        let frequencies = Tensor::from_slice(&[1.0f32, 0.1]);
        let all = Rotary::new(&Tensor::arange(9, tch::kind::INT64_CPU), &frequencies, Kind::Float);
        let part = Rotary::new(&Tensor::from_slice(&[4i64, 5]), &frequencies, Kind::Float);
        let x = Tensor::randn([1, 2, 2, 4], tch::kind::FLOAT_CPU);
        assert_eq!(all.narrow(4, 2).turn(&x), part.turn(&x));
    }
}
