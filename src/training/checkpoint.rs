//! Checkpoints: a folder each, which appears whole or not at all.
//!
//! ```text
//! checkpoints/
//!   step-00000200/
//!     state.safetensors   trained tensors, AdamW's moments and counts, running means
//!     manifest.json       step, place in the data, seed, bases, settings; written last
//! ```
//!
//! A checkpoint is written as `step-….partial` and renamed when every byte is on the disk. Random
//! draws follow from the seed and the step, so there is no other random state to keep.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::error::TrainError;
use crate::torch::{Checkpoint, LoadError, SaveKind, write_safetensors};

const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.safetensors";
const PARTIAL: &str = ".partial";

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Optimizer steps done.
    pub(super) step: u64,
    /// Place in the endless sequence of examples.
    pub(super) examples: u64,
    /// Of every draw.
    pub(super) seed: u64,
    /// Steps that changed something.
    pub(super) updates: u64,
    /// Steps that were not finite.
    pub(super) skipped: u64,
    /// Those of them at the very end.
    pub(super) skipped_in_a_row: u64,
    /// Examples at the very end of which none could be used.
    pub(super) unusable_in_a_row: u64,
    /// Examples of the dataset; checkpoints of before this was kept don't say.
    #[serde(default)]
    pub(super) dataset_examples: Option<u64>,
    /// CPU threads, on whose number the last bits of sums depend.
    pub(super) threads: i32,
    /// Fingerprints of the bases.
    pub(super) bases: BTreeMap<String, String>,
    /// The settings, as a file.
    pub(super) settings: String,
}

impl Manifest {
    /// Holds the checkpoint's bases against those of a run.
    pub(super) fn check_bases(
        &self,
        path: &Path,
        found: Vec<(String, String)>,
    ) -> Result<(), TrainError> {
        let found: BTreeMap<String, String> = found.into_iter().collect();
        let nothing = || "nothing".to_owned();
        for what in self.bases.keys().chain(found.keys()) {
            let (expected, found) = (self.bases.get(what), found.get(what));
            if expected != found {
                return Err(TrainError::OtherBase {
                    path: path.to_owned(),
                    what: what.clone(),
                    expected: expected.cloned().unwrap_or_else(nothing),
                    found: found.cloned().unwrap_or_else(nothing),
                });
            }
        }
        Ok(())
    }
}

/// Writes a checkpoint into `folder`, which is made; gives the checkpoint's own folder.
pub(super) fn write(
    folder: &Path,
    manifest: &Manifest,
    state: &[(String, Tensor)],
) -> Result<PathBuf, TrainError> {
    let place = folder.join(name(manifest.step));
    if place.join(MANIFEST).is_file() {
        // The run went on from it and has not moved since.
        return Ok(place);
    }
    let partial = folder.join(name(manifest.step) + PARTIAL);
    let written = write_partial(&partial, manifest, state).and_then(|()| {
        fs::rename(&partial, &place)?;
        File::open(folder)?.sync_all()?;
        Ok(())
    });
    written.map(|()| place).map_err(|source| {
        // Its space is wanted now; should removing it fail, the next attempt does it.
        let _ = fs::remove_dir_all(&partial);
        let whole = newest(folder).ok().flatten().map(|(path, _)| path);
        TrainError::Save { step: manifest.step, whole, source }
    })
}

fn write_partial(
    partial: &Path,
    manifest: &Manifest,
    state: &[(String, Tensor)],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if partial.is_dir() {
        fs::remove_dir_all(partial)?;
    }
    fs::create_dir_all(partial)?;
    let tensors = state.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(&partial.join(STATE), tensors, SaveKind::Own, &[])?;
    let mut file = File::create(partial.join(MANIFEST))?;
    file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
    file.sync_all()?;
    File::open(partial)?.sync_all()?;
    Ok(())
}

/// The newest whole checkpoint in `folder` and what it says of itself.
pub(super) fn newest(folder: &Path) -> Result<Option<(PathBuf, Manifest)>, TrainError> {
    let Some((_, path)) = all(folder)?.pop() else { return Ok(None) };
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| TrainError::Resume {
        path: path.clone(),
        source,
    };
    let text = fs::read(path.join(MANIFEST)).map_err(|error| broken(error.into()))?;
    let manifest = serde_json::from_slice(&text).map_err(|error| broken(error.into()))?;
    Ok(Some((path, manifest)))
}

/// The tensors of the checkpoint `path`.
pub(super) fn state(path: &Path) -> Result<Checkpoint, LoadError> {
    Checkpoint::file(&path.join(STATE))
}

/// Removes whole checkpoints but for the newest `kept`, and what was left half-written.
pub(super) fn prune(folder: &Path, kept: usize) -> Result<(), TrainError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Io { path, source }
    };
    let whole = all(folder)?;
    for (_, path) in &whole[..whole.len().saturating_sub(kept)] {
        // The manifest first: a checkpoint that is half removed is none.
        fs::remove_file(path.join(MANIFEST)).map_err(failed(path))?;
        fs::remove_dir_all(path).map_err(failed(path))?;
    }
    for path in entries(folder).map_err(failed(folder))? {
        let unfinished = path.to_str().is_some_and(|path| path.ends_with(PARTIAL))
            || (step_of(&path).is_some() && !path.join(MANIFEST).is_file());
        if unfinished && path.is_dir() {
            fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Whole checkpoints with their steps, oldest first.
fn all(folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let failed = |source| TrainError::Io { path: folder.to_owned(), source };
    let mut found: Vec<(u64, PathBuf)> = entries(folder)
        .map_err(failed)?
        .into_iter()
        .filter(|path| path.join(MANIFEST).is_file())
        .filter_map(|path| Some((step_of(&path)?, path)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}

fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}
