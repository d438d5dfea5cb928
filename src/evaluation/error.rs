//! Why a measurement can't go on.

use std::io;
use std::path::PathBuf;

use crate::torch::{LoadError, SaveError};

/// Why an evaluation can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A file or folder can't be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A line of the results is none of ours.
    #[error("{path}, line {line}: not a result; move the file away to begin anew")]
    Result {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The folder holds the results of something else.
    #[error(
        "{path} holds results of another run: its {what} is {found}, and this one's {expected}; give \
         another folder for a new run"
    )]
    OtherRun {
        /// The folder's description of its run.
        path: PathBuf,
        /// What is different.
        what: String,
        /// What the folder says.
        found: String,
        /// What this run is.
        expected: String,
    },
    /// A drawn photo can't be read again.
    #[error("a photo of the results can't be read")]
    Photo(#[from] crate::data::PhotoFileError),
    /// A judge can't be read.
    #[error("the judge can't be read; `shutterbug evaluate judge` makes one")]
    Judge(#[from] LoadError),
    /// A judge can't be written.
    #[error(transparent)]
    Save(#[from] SaveError),
}
