//! The parts of a pipeline that have weights, and where these lie.

use std::collections::BTreeMap;
use std::path::Path;

use super::clip::ClipTextEncoder;
use super::config::{ClipConfig, MmditConfig, PipelineIndex, T5Config, VaeConfig};
use super::mmdit::Mmdit;
use super::t5::T5Encoder;
use super::vae::Vae;
use crate::torch::{Checkpoint, LoadError, Weights};

/// The parts that hold weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// CLIP-L.
    ClipL,
    /// CLIP-G.
    ClipG,
    /// T5, which may be absent.
    T5,
    /// The denoising transformer.
    Transformer,
    /// The picture autoencoder.
    Vae,
}

impl Part {
    /// Name of the part's folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::ClipL => "text_encoder",
            Self::ClipG => "text_encoder_2",
            Self::T5 => "text_encoder_3",
            Self::Transformer => "transformer",
            Self::Vae => "vae",
        }
    }

    /// File name of its weights, without extension.
    pub fn stem(self) -> &'static str {
        match self {
            Self::ClipL | Self::ClipG | Self::T5 => "model",
            Self::Transformer | Self::Vae => "diffusion_pytorch_model",
        }
    }

    /// Ends of names that its files may hold although nothing reads them: old files' buffers, and
    /// T5's second name of its token table.
    pub(super) fn ignored(self) -> &'static [&'static str] {
        match self {
            Self::ClipL | Self::ClipG => &["position_ids"],
            Self::T5 => T5Encoder::IGNORED,
            Self::Transformer | Self::Vae => &[],
        }
    }

    /// Opens its weights below `dir`.
    pub fn open(self, dir: &Path) -> Result<Checkpoint, LoadError> {
        Checkpoint::open(&dir.join(self.folder()), self.stem())
    }

    /// The parts of the pipeline in `dir`.
    pub fn of(dir: &Path) -> Result<Vec<Self>, LoadError> {
        let PipelineIndex { has_t5 } = PipelineIndex::read(dir)?;
        let all = [Self::ClipL, Self::ClipG, Self::T5, Self::Transformer, Self::Vae];
        Ok(all.into_iter().filter(|part| *part != Self::T5 || has_t5).collect())
    }

    /// Holds the part's weights below `dir` against its configuration, without reading a tensor:
    /// the number of tensors, or everything that is wrong.
    pub fn inspect(self, dir: &Path) -> Result<usize, Vec<LoadError>> {
        Weights::inspect(&dir.join(self.folder()), self.stem(), self.ignored(), |weights| {
            self.build(dir, weights)
        })
    }

    /// The names and shapes of the tensors that its configuration below `dir` asks for.
    pub fn names(self, dir: &Path) -> Result<BTreeMap<String, Vec<i64>>, LoadError> {
        let weights = Weights::shapes_only();
        self.build(dir, &weights)?;
        Ok(weights.asked())
    }

    /// Builds the part by its configuration below `dir`, for the names that are asked for.
    fn build(self, dir: &Path, weights: &Weights) -> Result<(), LoadError> {
        match self {
            Self::ClipL | Self::ClipG => {
                ClipTextEncoder::load(weights, &ClipConfig::read(dir, self.folder())?).map(drop)
            }
            Self::T5 => T5Encoder::load(weights, &T5Config::read(dir)?).map(drop),
            Self::Transformer => Mmdit::load(weights, &MmditConfig::read(dir)?).map(drop),
            Self::Vae => Vae::load(weights, &VaeConfig::read(dir)?).map(drop),
        }
    }
}
