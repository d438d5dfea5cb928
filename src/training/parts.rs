//! The parts of a model directory as full training opens and writes them.
//!
//! ```text
//! model/
//!   llama/model.safetensors
//!   diffusion/text_encoder/model.safetensors, vae/diffusion_pytorch_model.safetensors, …
//! ```
//!
//! A directory that is still to be trained has every file but the weights.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{Beginning, WrittenPrecision};
use crate::llama_vision::TRAINED_TAGS;
use crate::systems::{self, write_manifest};
use crate::torch::{
    Checkpoint, Compute, LoadError, Parameters, SaveKind, Weights, derived_seed, write_safetensors,
};
use crate::training::ObjectiveError;

/// Folder and file stem of the language model's weights.
pub(super) const LLAMA: Place = Place { folder: "llama", stem: "model" };

/// Where the weights of a part lie in a model directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) folder: &'static str,
    pub(super) stem: &'static str,
}

struct OpenPart {
    place: Place,
    fingerprint: String,
    weights: Weights,
    /// Beginnings of the names of what is trained; none where the part is frozen.
    below: Vec<String>,
}

/// The parts that a stage works with.
pub(super) struct Parts {
    directory: PathBuf,
    begin: Beginning,
    seed: u64,
    /// What stands between the two models, where they are trained together.
    bridge: Option<systems::Bridge>,
    open: Mutex<Vec<OpenPart>>,
}

impl Parts {
    pub(super) fn new(directory: &Path, begin: Beginning, seed: u64) -> Self {
        let directory = directory.to_owned();
        Self { directory, begin, seed, bridge: None, open: Mutex::default() }
    }

    /// The same, of which the manifest tells how captions crossed.
    pub(super) fn over(self, bridge: Option<systems::Bridge>) -> Self {
        Self { bridge, ..self }
    }

    /// Opens a part that stays as it is.
    pub(super) fn frozen(&self, place: Place, compute: Compute) -> Result<Weights, LoadError> {
        let checkpoint = Checkpoint::open(&self.directory.join(place.folder), place.stem)?;
        let fingerprint = checkpoint.fingerprint().to_hex().to_string();
        Ok(self.keep(place, fingerprint, Weights::new(checkpoint, compute), &[]))
    }

    /// Opens a part of which all tensors whose names begin with one of `below` are trained: from
    /// its weights, or, where there are none yet and the settings begin from nothing, from initial
    /// values.
    pub(super) fn trained(
        &self,
        place: Place,
        compute: Compute,
        below: &[&str],
    ) -> Result<Weights, LoadError> {
        let (fingerprint, weights) =
            match Checkpoint::open(&self.directory.join(place.folder), place.stem) {
                Err(LoadError::NoCheckpoint { .. }) if self.begin == Beginning::Nothing => {
                    let fingerprint = format!("initial values of seed {}", self.seed);
                    // Parts have names in common, which draw from different seeds.
                    let seed = derived_seed(self.seed, place.folder);
                    (fingerprint, Weights::fresh(seed, compute))
                }
                Err(error) => return Err(error),
                Ok(checkpoint) => {
                    let fingerprint = checkpoint.fingerprint().to_hex().to_string();
                    (fingerprint, Weights::trainable(checkpoint, compute, below))
                }
            };
        Ok(self.keep(place, fingerprint, weights, below))
    }

    fn keep(&self, place: Place, fingerprint: String, weights: Weights, below: &[&str]) -> Weights {
        let below = below.iter().map(|&prefix| prefix.to_owned()).collect();
        self.open().push(OpenPart { place, fingerprint, weights: weights.clone(), below });
        weights
    }

    fn open(&self) -> MutexGuard<'_, Vec<OpenPart>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trained tensors of the models that were built over the open parts, as `FOLDER.NAME`.
    pub(super) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        for part in self.open().iter() {
            for (name, tensor) in part.weights.parameters() {
                if part.below.iter().any(|prefix| name.starts_with(prefix)) {
                    parameters.insert(format!("{}.{name}", part.place.folder), tensor);
                }
            }
        }
        parameters
    }

    /// Folder and fingerprint of every open part.
    pub(super) fn bases(&self) -> Vec<(String, String)> {
        let of = |part: &OpenPart| (part.place.folder.to_owned(), part.fingerprint.clone());
        self.open().iter().map(of).collect()
    }

    /// Writes a copy of the model directory to `out/model`, with `parameters` (named as by
    /// `parameters`) in their places, and its manifest once every part has weights. `edit` may
    /// change files of it before that.
    pub(super) fn write(
        &self,
        parameters: &Parameters,
        out: &Path,
        precision: WrittenPrecision,
        edit: impl FnOnce(&Path) -> Result<(), ObjectiveError>,
    ) -> Result<(), ObjectiveError> {
        let (place, part) = (out.join("model"), out.join("model.part"));
        if part.is_dir() {
            fs::remove_dir_all(&part)?;
        }
        // Nothing else: runs may stand beside them, this one among them.
        let halves = ["llama", "diffusion"].into_iter();
        for half in halves.filter(|half| self.directory.join(half).is_dir()) {
            mirror(&self.directory.join(half), &part.join(half), &self.trained_folders())?;
        }
        let kind = match precision {
            WrittenPrecision::Float32 => SaveKind::Float32,
            WrittenPrecision::Bfloat16 => SaveKind::Bfloat16,
        };
        for open in self.open().iter().filter(|open| !open.below.is_empty()) {
            let Place { folder, stem } = open.place;
            let mut tensors = open.weights.tensors();
            for (name, tensor) in &mut tensors {
                if let Some(trained) = parameters.get(&format!("{folder}.{name}")) {
                    *tensor = trained.shallow_clone();
                }
            }
            let file = part.join(folder).join(format!("{stem}.safetensors"));
            let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
            let header: &[_] = if self.tags_trained(open) { &[TRAINED_TAGS] } else { &[] };
            write_safetensors(&file, tensors, kind, header)?;
        }
        edit(&part)?;
        if complete(&part) {
            let name = out.file_name().map_or("model".into(), |name| name.to_string_lossy());
            write_manifest(&part, &name, &self.directory, self.bridge)?;
        }
        if place.is_dir() {
            fs::remove_dir_all(&place)?;
        }
        Ok(fs::rename(&part, &place)?)
    }

    /// Whether the photo tags' rows are among what is or was trained with all other rows: then
    /// they are to stay as they are.
    fn tags_trained(&self, open: &OpenPart) -> bool {
        open.place == LLAMA
            && (open.below.iter().any(String::is_empty) || self.tags_trained_before())
    }

    /// Whether the model directory's language model comes with trained rows of the photo tags.
    pub(super) fn tags_trained_before(&self) -> bool {
        Checkpoint::open(&self.directory.join(LLAMA.folder), LLAMA.stem)
            .is_ok_and(|weights| weights.metadata(TRAINED_TAGS.0) == Some(TRAINED_TAGS.1))
    }

    fn trained_folders(&self) -> Vec<PathBuf> {
        let trained = |open: &OpenPart| {
            (!open.below.is_empty()).then(|| self.directory.join(open.place.folder))
        };
        self.open().iter().filter_map(trained).collect()
    }
}

/// Copies a folder, sharing the bytes of weights where the file system can; leaves out the weights
/// in the folders `replaced`.
fn mirror(from: &Path, to: &Path, replaced: &[PathBuf]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let source = entry?.path();
        let name = source.file_name().unwrap_or_default();
        let target = to.join(name);
        let name = name.to_string_lossy();
        let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if source.is_dir() {
            mirror(&source, &target, replaced)?;
        } else if weights && !replaced.iter().any(|folder| folder == from) {
            let file = source.canonicalize()?;
            fs::hard_link(&file, &target).or_else(|_| fs::copy(&file, &target).map(|_| ()))?;
        } else if !weights {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Whether every folder with a configuration of a network has weights.
fn complete(directory: &Path) -> bool {
    let diffusion = ["text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae"];
    let folders = diffusion.map(|part| directory.join("diffusion").join(part));
    folders.into_iter().chain([directory.join("llama")]).all(|folder| {
        let weights = ["model", "diffusion_pytorch_model"]
            .into_iter()
            .any(|stem| Checkpoint::open(&folder, stem).is_ok());
        weights || !folder.join("config.json").is_file()
    })
}
