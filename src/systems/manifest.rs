//! `shutterbug.toml`: what the two bases of a model directory must be.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ModelError;
use crate::tokens::PhotoTags;

/// File name of the manifest.
pub const MANIFEST: &str = "shutterbug.toml";

/// `shutterbug.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the model is called.
    pub name: String,
    /// The language model.
    pub llama: Base,
    /// The image generator.
    pub diffusion: Base,
    /// The photo tags.
    pub tokens: PhotoTags,
    /// Sizes that the two sides of the bridge must agree on.
    pub sizes: Sizes,
    /// How photos are seen.
    pub perceptron: Perceptron,
    /// How captions reached the text encoders when both models were trained together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
}

/// One base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Name of the folder that it came from.
    pub name: String,
    /// Of its weights ([`crate::torch::Checkpoint::fingerprint`]), in hexadecimal.
    pub fingerprint: String,
}

/// Vocabulary and hidden sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Rows of the language model's head.
    pub llama_vocabulary: u64,
    /// Width of the language model.
    pub llama_hidden: u64,
    /// Rows of the text encoders' token tables.
    pub clip_vocabulary: u64,
    /// Width of CLIP-L.
    pub clip_l_hidden: u64,
    /// Width of CLIP-G.
    pub clip_g_hidden: u64,
}

/// What the image perceptron takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Perceptron {
    /// Side of a tile in pixels.
    pub image_size_px: u64,
    /// Most tiles of one photo.
    pub tiles_max: u64,
}

/// How the caption's tokens reach the text encoders in training: a record for those who train on,
/// since at inference every mode gives the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Which vocabulary transformation.
    pub mode: BridgeMode,
    /// The least temperature of the Gumbel-softmax' backward pass; 0 is no floor.
    pub temperature_floor: f64,
}

/// A vocabulary transformation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BridgeMode {
    /// Tokens of equal text (eq. 3).
    Static,
    /// All tokens of the caption, either side (eq. 4 and 5).
    Sentence,
    /// The tokens of a word, either side.
    Word,
    /// By position, through the mean of the encoder's tokens of each token's text.
    Position,
}

impl Manifest {
    /// Reads the manifest of the model directory at `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join(MANIFEST);
        if !file.is_file() {
            return Err(ModelError::NoManifest(folder.to_owned()));
        }
        let text = fs::read_to_string(&file).map_err(ModelError::io(&file))?;
        let manifest: Self = toml::from_str(&text)
            .map_err(|source| ModelError::Manifest { path: file.clone(), source: source.into() })?;
        let floor = manifest.bridge.as_ref().map_or(0.0, |bridge| bridge.temperature_floor);
        if !floor.is_finite() || floor < 0.0 {
            let reason = format!("bridge.temperature_floor is {floor}; it must be at least 0");
            return Err(ModelError::Base { path: file, reason });
        }
        Ok(manifest)
    }

    /// Writes the manifest of the model directory at `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let file = folder.join(MANIFEST);
        let text = toml::to_string(self).expect("a manifest is plain strings and numbers");
        fs::write(&file, text).map_err(ModelError::io(&file))
    }

    /// The model's revision, as records keep it: its name and the beginnings of both fingerprints.
    pub fn revision(&self) -> String {
        let short = |base: &Base| base.fingerprint.chars().take(8).collect::<String>();
        format!("{}@{}-{}", self.name, short(&self.llama), short(&self.diffusion))
    }
}
