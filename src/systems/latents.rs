//! Starting noise from outside.

use std::path::Path;

use tch::Tensor;

use super::error::ModelError;
use crate::torch::{Checkpoint, Compute, Weights};

/// Standard normal starting latents, instead of the seed's.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// `[photos, channels, height, width]`.
    pub shape: [i64; 4],
    /// In row-major order.
    pub values: Vec<f32>,
}

impl Latents {
    /// Reads the tensor `latents` of a safetensors file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::file(path)?;
        let shape: Option<[i64; 4]> =
            checkpoint.shapes().remove("latents").and_then(|shape| shape.try_into().ok());
        let Some(shape) = shape else {
            return Err(ModelError::Base {
                path: path.to_owned(),
                reason: "it must hold one tensor `latents [photos, c, h, w]`".to_owned(),
            });
        };
        let tensor: Tensor = Weights::new(checkpoint, Compute::CPU).tensor("latents", &shape)?;
        let mut values = vec![0.0; tensor.numel()];
        tensor.contiguous().copy_data(&mut values, tensor.numel());
        Ok(Self { shape, values })
    }
}
