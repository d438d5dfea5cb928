//! Seeded random draws.

use tch::{Device, Kind, Tensor};

use super::shim::{self, RawGenerator};

/// A seed for one purpose among all that `seed` serves: BLAKE3 of both. Draws for different
/// purposes are independent, in whatever order they are made.
pub fn derived_seed(seed: u64, purpose: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A mask of `sizes` for dropout: 1 / `keep` with probability `keep`, otherwise 0; in a dtype and
/// drawn on the device itself, so that the draws of one seed differ between kinds of devices.
pub fn dropout_mask(seed: u64, keep: f64, sizes: &[i64], options: (Kind, Device)) -> Tensor {
    shim::keep_mask(seed, keep, sizes, options)
}

/// A CPU generator; its draws equal those of Python's `torch.Generator().manual_seed(seed)`.
///
/// Noise is drawn here and then moved to the device, so that a seed gives the same picture on
/// every machine.
pub struct Generator(RawGenerator);

impl Generator {
    /// A generator at the beginning of `seed`'s sequence.
    pub fn new(seed: u64) -> Self {
        Self(RawGenerator::new(seed))
    }

    /// Standard normal draws, float32 on the CPU, in `sizes`' shape.
    pub fn randn(&mut self, sizes: &[i64]) -> Tensor {
        self.0.randn(sizes)
    }

    /// Uniform draws from [0, 1), float32 on the CPU, in `sizes`' shape.
    pub fn rand(&mut self, sizes: &[i64]) -> Tensor {
        self.0.rand(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.Generator().manual_seed(7); torch.randn(3, generator=g); torch.rand(2, generator=g)
    #[test]
    fn draws_what_python_draws() {
        let mut generator = Generator::new(7);
        let normal: Vec<f32> = Vec::try_from(generator.randn(&[3])).unwrap();
        let uniform: Vec<f32> = Vec::try_from(generator.rand(&[2])).unwrap();
        assert_eq!(normal, NORMAL);
        assert_eq!(uniform, UNIFORM);
    }

    const NORMAL: [f32; 3] = [-0.146_795_1, 0.786_141_3, 0.946_821_63];
    const UNIFORM: [f32; 2] = [0.365_316_15, 0.851_268_35];
}
