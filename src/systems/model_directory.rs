//! A model directory: the two bases, a manifest that says what they must be, and what was trained
//! on them.
//!
//! ```text
//! model/
//!   shutterbug.toml   bases by name and fingerprint, photo tags, sizes, perceptron, bridge
//!   llama/            Hugging Face mllama
//!   diffusion/        diffusers' StableDiffusion3Pipeline
//!   adapter/          if it is there, used unless another is named
//! ```

use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::manifest::{Base, MANIFEST, Manifest, Perceptron, Sizes};
use crate::adapters;
use crate::llama_vision::{self, LlamaVision};
use crate::stable_diffusion::{Part, StableDiffusion3Config};
use crate::torch::Checkpoint;

/// Name of the folder, below a model directory, of the adapter that is used with it.
pub const ADAPTER: &str = "adapter";

/// A model directory whose manifest agrees with its files.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    /// The folder.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl ModelDirectory {
    /// Reads the manifest and holds it against the bases.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let directory = Self { path: path.to_owned(), manifest: Manifest::read(path)? };
        directory.check(&Bases::read(&directory.llama(), &directory.diffusion())?)?;
        Ok(directory)
    }

    /// Folder of the language model.
    pub fn llama(&self) -> PathBuf {
        self.path.join("llama")
    }

    /// Folder of the image generator.
    pub fn diffusion(&self) -> PathBuf {
        self.path.join("diffusion")
    }

    /// The weights of all parts, the language model's first; only their headers are read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, ModelError> {
        let mut checkpoints = vec![Checkpoint::open(&self.llama(), LlamaVision::STEM)?];
        for part in Part::of(&self.diffusion())? {
            checkpoints.push(part.open(&self.diffusion())?);
        }
        Ok(checkpoints)
    }

    /// The model's revision, as records keep it.
    pub fn revision(&self) -> String {
        self.manifest.revision()
    }

    /// What adapters for this model stand on.
    pub fn bases(&self) -> Result<adapters::Bases, ModelError> {
        let base = |base: &Base, weights: Checkpoint| adapters::Base {
            name: base.name.clone(),
            fingerprint: base.fingerprint.clone(),
            shapes: weights.shapes(),
        };
        let Manifest { llama, diffusion, .. } = &self.manifest;
        Ok(adapters::Bases {
            llama: base(llama, Checkpoint::open(&self.llama(), LlamaVision::STEM)?),
            diffusion: base(diffusion, Part::Transformer.open(&self.diffusion())?),
        })
    }

    /// Holds the manifest against what the bases' own files say.
    pub(super) fn check(&self, found: &Bases) -> Result<(), ModelError> {
        let Manifest { llama, diffusion, tokens, sizes, perceptron, .. } = &self.manifest;
        let same = |what, expected: &dyn ToString, path: PathBuf, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                return Ok(());
            }
            let manifest = self.path.join(MANIFEST);
            Err(ModelError::Mismatch { manifest, what, expected, path, found })
        };
        same("llama.fingerprint", &llama.fingerprint, self.llama(), &found.llama)?;
        same("diffusion.fingerprint", &diffusion.fingerprint, self.diffusion(), &found.diffusion)?;
        let (ours, theirs) = (sizes, &found.sizes);
        for (what, expected, found, path) in [
            ("sizes.llama_vocabulary", ours.llama_vocabulary, theirs.llama_vocabulary, "llama"),
            ("sizes.llama_hidden", ours.llama_hidden, theirs.llama_hidden, "llama"),
            ("sizes.clip_vocabulary", ours.clip_vocabulary, theirs.clip_vocabulary, "diffusion"),
            ("sizes.clip_l_hidden", ours.clip_l_hidden, theirs.clip_l_hidden, "diffusion"),
            ("sizes.clip_g_hidden", ours.clip_g_hidden, theirs.clip_g_hidden, "diffusion"),
            (
                "perceptron.image_size_px",
                perceptron.image_size_px,
                found.perceptron.image_size_px,
                "llama",
            ),
            ("perceptron.tiles_max", perceptron.tiles_max, found.perceptron.tiles_max, "llama"),
        ] {
            same(what, &expected, self.path.join(path), &found)?;
        }
        for (what, id) in [("tokens.img", tokens.img), ("tokens.img_end", tokens.img_end)] {
            if u64::from(id) >= sizes.llama_vocabulary {
                let found = format!("a vocabulary of {}", sizes.llama_vocabulary);
                same(what, &id, self.llama(), &found)?;
            }
        }
        Ok(())
    }
}

/// What the two bases are, by their own files.
pub(super) struct Bases {
    pub(super) llama: String,
    pub(super) diffusion: String,
    pub(super) sizes: Sizes,
    pub(super) perceptron: Perceptron,
}

impl Bases {
    pub(super) fn read(llama: &Path, diffusion: &Path) -> Result<Self, ModelError> {
        let talks = llama_vision::Config::read(llama)?;
        let draws = StableDiffusion3Config::read(diffusion)?;
        let mut parts = blake3::Hasher::new();
        for part in Part::of(diffusion)? {
            parts.update(part.open(diffusion)?.fingerprint().as_bytes());
        }
        Ok(Self {
            llama: Checkpoint::open(llama, LlamaVision::STEM)?.fingerprint().to_hex().to_string(),
            diffusion: parts.finalize().to_hex().to_string(),
            sizes: Sizes {
                llama_vocabulary: talks.text.vocabulary as u64,
                llama_hidden: talks.text.width as u64,
                clip_vocabulary: draws.clip_l.vocab_size as u64,
                clip_l_hidden: draws.clip_l.hidden_size as u64,
                clip_g_hidden: draws.clip_g.hidden_size as u64,
            },
            perceptron: Perceptron {
                image_size_px: talks.vision.tile_size as u64,
                tiles_max: talks.vision.tiles_max as u64,
            },
        })
    }
}
