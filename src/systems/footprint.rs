//! How much memory a model takes, reckoned from its configurations and the headers of its files
//! before anything is loaded.

use std::path::Path;

use tch::Kind;

use super::end_to_end::{PROMPT_TOKENS_MAX, TILES_MAX};
use super::error::ModelError;
use crate::llama_vision::{Config, LlamaVision};
use crate::stable_diffusion::{Part, StableDiffusion3Config};
use crate::torch::{Checkpoint, LoadError};

/// What libtorch, its libraries and the allocator's leftovers take beside all tensors.
const RUNTIME_BYTES: u64 = 512 << 20;

/// A part of the model and the bytes of its weights in the running dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// `llama`, or the name of the part's folder in `diffusion/`.
    pub name: &'static str,
    /// Its weights.
    pub bytes: u64,
}

/// What a model takes while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Weights, part by part.
    pub weights: Vec<Share>,
    /// The longest dialogue beside the weights: keys and values, photos, activations.
    pub talking_bytes: u64,
    /// A picture beside the weights; never at the same time as talking.
    pub drawing_bytes: u64,
    /// libtorch itself.
    pub runtime_bytes: u64,
}

impl Footprint {
    /// What the model directory `path` takes in `kind`, with replies of up to `new_tokens_max` tokens
    /// and pictures of `size` (or of the model's own).
    pub fn of(
        path: &Path,
        kind: Kind,
        new_tokens_max: usize,
        size: Option<(u32, u32)>,
    ) -> Result<Self, ModelError> {
        let element_bytes = kind.elt_size_in_bytes() as u64;
        let (llama, diffusion) = (path.join("llama"), path.join("diffusion"));
        let mut weights = vec![Share {
            name: "llama",
            bytes: Checkpoint::open(&llama, LlamaVision::STEM)?.elements() * element_bytes,
        }];
        for part in Part::of(&diffusion)? {
            let elements = part.open(&diffusion)?.elements();
            // The VAE always runs in float32.
            let element_bytes = if part == Part::Vae { 4 } else { element_bytes };
            weights.push(Share { name: part.folder(), bytes: elements * element_bytes });
        }
        let talks = Config::read(&llama)?;
        let tokens = (talks.text.positions_max as usize).min(PROMPT_TOKENS_MAX + new_tokens_max);
        let talking = talks.dialogue_elements(tokens as i64, TILES_MAX as i64) as u64;
        let drawing_bytes = StableDiffusion3Config::read(&diffusion)?
            .drawing_bytes(size, element_bytes)
            .map_err(|error| {
                let path = diffusion.join("transformer/config.json");
                LoadError::Config { path, reason: error.to_string() }
            })?;
        let talking_bytes = talking * element_bytes;
        Ok(Self { weights, talking_bytes, drawing_bytes, runtime_bytes: RUNTIME_BYTES })
    }

    /// All that must fit at the same time.
    pub fn total_bytes(&self) -> u64 {
        let weights: u64 = self.weights.iter().map(|share| share.bytes).sum();
        weights + self.runtime_bytes + self.talking_bytes.max(self.drawing_bytes)
    }

    /// What T5 takes of it.
    pub fn t5_bytes(&self) -> u64 {
        let t5 = self.weights.iter().find(|share| share.name == Part::T5.folder());
        t5.map_or(0, |share| share.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_count_in_the_running_dtype_and_the_vae_in_float32() {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
        let bytes = |kind| {
            let footprint = Footprint::of(&tiny, kind, 16, None).unwrap();
            let share =
                |name| footprint.weights.iter().find(|share| share.name == name).unwrap().bytes;
            (share("llama"), share("vae"), footprint.talking_bytes, footprint.total_bytes())
        };
        let (single, half) = (bytes(Kind::Float), bytes(Kind::BFloat16));
        let llama = Checkpoint::open(&tiny.join("llama"), LlamaVision::STEM).unwrap();
        assert_eq!(single.0, 4 * llama.elements());
        assert_eq!((single.0, single.1, single.2), (2 * half.0, half.1, 2 * half.2));
        assert!(single.3 > half.3 && half.3 > RUNTIME_BYTES);
    }
}
