//! What a computation saw and made, so that anyone can compare it with another implementation.

use std::path::Path;

use tch::{Kind, Tensor};

use crate::torch::{SaveError, SaveKind, write_safetensors};

/// Collects named tensors for a safetensors file; without a file it collects nothing.
pub(super) struct Trace<'a> {
    file: Option<&'a Path>,
    tensors: Vec<(String, Tensor)>,
}

impl<'a> Trace<'a> {
    pub(super) fn new(file: Option<&'a Path>) -> Self {
        Self { file, tensors: Vec::new() }
    }

    /// Keeps `make()` under `name`; floating-point values as float32.
    pub(super) fn keep(&mut self, name: impl Into<String>, make: impl FnOnce() -> Tensor) {
        if self.file.is_some() {
            let tensor = make().detach().to_device(tch::Device::Cpu);
            let tensor =
                if tensor.is_floating_point() { tensor.to_kind(Kind::Float) } else { tensor };
            self.tensors.push((name.into(), tensor));
        }
    }

    pub(super) fn write(&self) -> Result<(), SaveError> {
        let Some(file) = self.file else { return Ok(()) };
        let named = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write_safetensors(file, named, SaveKind::Own, &[])
    }
}

/// Token ids as a tensor, `[t]`.
pub(super) fn ids_tensor(ids: &[u32]) -> Tensor {
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_slice(&ids)
}
