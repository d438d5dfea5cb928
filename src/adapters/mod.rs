//! Adapters in the formats that Python writes: PEFT's for the language model, diffusers' for the
//! image generator.
//!
//! ```text
//! adapter/
//!   llama/      adapter_config.json, adapter_model.safetensors (PEFT)
//!   diffusion/  pytorch_lora_weights.safetensors (diffusers)
//! ```
//!
//! Either folder may be absent. What is written here loads in Python and the other way round. The
//! header of each file also keeps the fingerprint of the base that it was trained on; files of
//! another base are refused, files that Python wrote say nothing of it and are taken.

mod diffusers;
mod error;
mod files;
mod names;
mod peft;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::nn::Adapter;
use crate::torch::{Checkpoint, Compute};

pub use error::AdapterError;

/// Names and shapes of a base's tensors, which an adapter's must fit.
pub type Shapes = BTreeMap<String, Vec<i64>>;

/// The model that an adapter stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Folder name or hub name, for Python's readers.
    pub name: String,
    /// What tells it from any other: hexadecimal, as the model directory's manifest has it.
    pub fingerprint: String,
    /// Its tensors: the language model's, or the transformer's.
    pub shapes: Shapes,
}

/// Both bases of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bases {
    /// The language model.
    pub llama: Base,
    /// The image generator, with the shapes of its transformer.
    pub diffusion: Base,
}

/// Both halves of one adapter, resident beside the base weights.
pub struct JointAdapter {
    /// What tells it from any other.
    pub revision: String,
    /// Of the language model.
    pub llama: Option<Adapter>,
    /// Of the image generator's transformer.
    pub diffusion: Option<Adapter>,
}

impl JointAdapter {
    /// Reads `folder` against both bases, into `compute`'s device and format.
    pub fn read(folder: &Path, bases: &Bases, compute: Compute) -> Result<Self, AdapterError> {
        let (peft, lora) = (peft_file(folder), lora_file(folder));
        let mut revision = blake3::Hasher::new();
        let mut half = |file: &Path| -> Result<Option<Checkpoint>, AdapterError> {
            if !file.is_file() {
                return Ok(None);
            }
            let checkpoint = Checkpoint::file(file)?;
            revision.update(checkpoint.fingerprint().as_bytes());
            Ok(Some(checkpoint))
        };
        let (peft_weights, lora_weights) = (half(&peft)?, half(&lora)?);
        if peft_weights.is_none() && lora_weights.is_none() {
            return Err(AdapterError::Nothing(folder.to_owned()));
        }
        let llama = peft_weights
            .map(|checkpoint| peft::read(checkpoint, &peft, &bases.llama, compute))
            .transpose()?;
        let diffusion = lora_weights
            .map(|checkpoint| diffusers::read(checkpoint, &lora, &bases.diffusion, compute))
            .transpose()?;
        Ok(Self { revision: revision.finalize().to_hex()[..16].to_owned(), llama, diffusion })
    }
}

/// Writes both halves, where there are any, below `folder`, tensors in float32. `dropout` is what
/// the language model's was trained with, which PEFT's configuration keeps.
pub fn write(
    folder: &Path,
    llama: Option<&Adapter>,
    diffusion: Option<&Adapter>,
    bases: &Bases,
    dropout: f64,
) -> Result<(), AdapterError> {
    if let Some(adapter) = llama {
        peft::write(&peft_file(folder), adapter, &bases.llama, dropout)?;
    }
    if let Some(adapter) = diffusion {
        diffusers::write(&lora_file(folder), adapter, &bases.diffusion)?;
    }
    Ok(())
}

fn peft_file(folder: &Path) -> PathBuf {
    folder.join("llama/adapter_model.safetensors")
}

fn lora_file(folder: &Path) -> PathBuf {
    folder.join("diffusion/pytorch_lora_weights.safetensors")
}
