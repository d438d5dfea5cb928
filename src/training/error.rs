//! What can end a run.

use std::path::{Path, PathBuf};

use super::ObjectiveError;
use crate::torch::{LoadError, SaveError};

/// Why training can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("the dataset is empty: there is no example that this stage learns from")]
    Empty,
    /// Nothing of the dataset could be read.
    #[error("none of the last {examples} examples could be used; the last one: {reason}")]
    Unusable {
        /// A whole epoch of them.
        examples: u64,
        /// Of the last one.
        reason: String,
    },
    /// Nothing is trained.
    #[error("nothing is trained: {0}")]
    NothingTrained(String),
    /// The run diverged.
    #[error("{0}")]
    NotFinite(Diagnosis),
    /// A setting that this stage, model or dataset can't have.
    #[error("{0}")]
    Setting(String),
    /// The objective can't prepare, compute or write.
    #[error("{doing}")]
    Objective {
        /// What it was doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: ObjectiveError,
    },
    /// A checkpoint can't be written. Earlier ones are whole.
    #[error("the checkpoint of step {step} can't be written; {}", earlier(.whole.as_deref()))]
    Save {
        /// Its step.
        step: u64,
        /// The last whole checkpoint.
        whole: Option<PathBuf>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A checkpoint can't be read.
    #[error("{path} can't be resumed from")]
    Resume {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A checkpoint stands on another base.
    #[error(
        "{path} was trained on {what} {expected}, but the model has {found}; \
         resume with the model it was trained on, or begin anew in another folder"
    )]
    OtherBase {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Which base.
        what: String,
        /// Its fingerprint in the checkpoint.
        expected: String,
        /// Its fingerprint now.
        found: String,
    },
    /// A file of the run can't be read or written.
    #[error("{path}")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Weights can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file of tensors can't be written.
    #[error(transparent)]
    Write(#[from] SaveError),
}

fn earlier(whole: Option<&Path>) -> String {
    match whole {
        Some(path) => format!("{} is whole, and --resume goes on from it", path.display()),
        None => "there is no earlier one".to_owned(),
    }
}

/// Where values stopped being finite.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{steps} steps in a row were not finite, the last one being step {step}: the loss was {loss}, \
     and {} of {tensors_in_all} gradients were not finite{}; \
     the trained tensors are as they were before. A lower learning rate or float32 may help",
    .tensors.len(), first_names(.tensors)
)]
pub struct Diagnosis {
    /// How many steps in a row.
    pub steps: u64,
    /// The last of them, counted from 1.
    pub step: u64,
    /// Its loss.
    pub loss: f64,
    /// Trained tensors whose gradient was not finite.
    pub tensors: Vec<String>,
    /// Trained tensors altogether.
    pub tensors_in_all: usize,
}

fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => String::new(),
        count if count > SHOWN => format!(" ({shown}, …)"),
        _ => format!(" ({shown})"),
    }
}
