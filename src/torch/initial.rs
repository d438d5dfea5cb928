//! What weights are before any training.

use tch::{Kind, Tensor};

use super::generator::{Generator, derived_seed};

/// How a weight begins when a model is made from nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Biases, and layers whose branch is to begin as nothing (adaLN-zero; Peebles and Xie, 2023).
    Zeros,
    /// Scales of norms.
    Ones,
    /// The same value everywhere.
    Constant(f64),
    /// Normal draws of this standard deviation: tables of embeddings.
    Normal(f64),
    /// Uniform draws from ±1/√(inputs of one output): linear layers and convolutions, as
    /// `torch.nn` has it (Kaiming uniform with a = √5).
    FanIn,
}

impl Initial {
    /// A tensor of `shape`, float32 on the CPU, whose draws depend on `seed` and `name` alone.
    pub(super) fn draw(self, shape: &[i64], seed: u64, name: &str) -> Tensor {
        let filled = |value: f64| Tensor::full(shape, value, tch::kind::FLOAT_CPU);
        let mut generator = Generator::new(derived_seed(seed, name));
        match self {
            Self::Zeros => filled(0.0),
            Self::Ones => filled(1.0),
            Self::Constant(value) => filled(value),
            Self::Normal(deviation) => generator.randn(shape) * deviation,
            Self::FanIn => generator.fan_in(shape),
        }
    }
}

impl Generator {
    /// Uniform draws from ±1/√n in the shape of a weight `[outputs, ..]`, where n is the number of
    /// inputs of one output; float32 on the CPU.
    pub fn fan_in(&mut self, shape: &[i64]) -> Tensor {
        let inputs: i64 = shape.iter().skip(1).product();
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        (self.rand(shape) * 2.0 - 1.0).to_kind(Kind::Float) * bound
    }
}
