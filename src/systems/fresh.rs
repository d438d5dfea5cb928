//! Models from nothing: configurations of a preset, vocabularies learned from texts, weights at
//! their initial values, all in the published layouts.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::convert::{Parents, Transfer, convert};
use super::error::ModelError;
use super::model_directory::ModelDirectory;
use super::preset::{Preset, Vocabularies};
use crate::llama_vision::{self, LlamaVision};
use crate::prompt::{write_clip_vocabulary, write_llama_vocabulary};
use crate::stable_diffusion::{StableDiffusion3, StableDiffusion3Config};
use crate::torch::{Compute, SaveKind, Weights, write_safetensors};

/// What vocabularies are learned from.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// What is said.
    pub said: &'a [String],
    /// What photos are drawn from.
    pub captions: &'a [String],
}

/// Makes a model directory at `out`, where nothing may be yet: nothing is learned in it but its
/// vocabularies. `seed` draws the weights, which are written in bfloat16. The same preset, texts and
/// seed make the same files.
///
/// # Errors
/// If `out` exists or can't be written.
pub fn create(
    preset: Preset,
    texts: Texts<'_>,
    seed: u64,
    out: &Path,
) -> Result<ModelDirectory, ModelError> {
    if out.symlink_metadata().is_ok() {
        return Err(ModelError::Occupied(out.to_owned()));
    }
    let parents = Parents::make(out)?;
    let workshop = tempfile::Builder::new()
        .prefix(".shutterbug-new-")
        .tempdir_in(&parents.folder)
        .map_err(ModelError::io(&parents.folder))?;
    // The manifest keeps the bases' names.
    let llama = workshop.path().join(format!("{}-llama", preset.name()));
    let diffusion = workshop.path().join(format!("{}-diffusion", preset.name()));
    write_files(preset, texts, &llama, &diffusion)?;
    write_llama_weights(&llama, seed)?;
    write_diffusion_weights(&diffusion, seed)?;
    let made = convert(&llama, &diffusion, out, Transfer::Copy)?;
    parents.keep();
    Ok(made)
}

fn write_files(
    preset: Preset,
    texts: Texts<'_>,
    llama: &Path,
    diffusion: &Path,
) -> Result<(), ModelError> {
    let said = texts.said.iter().chain(texts.captions).map(String::as_str);
    let ids = write_llama_vocabulary(said, preset.llama_tokens_max(), llama)?;
    let tokenizers =
        [(diffusion.join("tokenizer"), "<|endoftext|>"), (diffusion.join("tokenizer_2"), "!")];
    let captions = texts.captions.iter().map(String::as_str);
    let clip = write_clip_vocabulary(captions, preset.clip_merges_max(), &tokenizers)?;
    let files = preset.files(Vocabularies { llama: ids, clip: clip as u64 });
    for (place, value) in files.llama {
        write_json(&llama.join(place), &value)?;
    }
    for (place, value) in files.diffusion {
        write_json(&diffusion.join(place), &value)?;
    }
    Ok(())
}

fn write_llama_weights(llama: &Path, seed: u64) -> Result<(), ModelError> {
    let weights = Weights::fresh(seed, Compute::CPU);
    LlamaVision::from_weights(&weights, llama_vision::Config::read(llama)?)?;
    save(&weights, &llama.join(format!("{}.safetensors", LlamaVision::STEM)))
}

fn write_diffusion_weights(diffusion: &Path, seed: u64) -> Result<(), ModelError> {
    let config = StableDiffusion3Config::read(diffusion)?;
    let parts = RefCell::new(Vec::new());
    StableDiffusion3::from_weights(config, Compute::CPU, |part, compute| {
        // Parts have names in common, which draw from different seeds.
        let weights = Weights::fresh(seed.wrapping_add(1 + part as u64), compute);
        parts.borrow_mut().push((part, weights.clone()));
        Ok(weights)
    })?;
    for (part, weights) in parts.into_inner() {
        let folder = diffusion.join(part.folder());
        save(&weights, &folder.join(format!("{}.safetensors", part.stem())))?;
    }
    Ok(())
}

fn save(weights: &Weights, path: &Path) -> Result<(), ModelError> {
    let tensors = weights.tensors();
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(path, tensors, SaveKind::Bfloat16, &[])?;
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    let folder = path.parent().expect("a file stands in a folder");
    fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    fs::write(path, format!("{value:#}\n")).map_err(ModelError::io(path))
}
