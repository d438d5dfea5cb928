//! Why a model directory can't be used or made.

use std::io;
use std::path::PathBuf;

use crate::adapters::AdapterError;
use crate::prompt::{PromptError, PromptLoadError, VocabularyError};
use crate::torch::{LoadError, SaveError};

/// Why a model directory can't be used or made. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file can't be read or written.
    #[error("can't use {path}; see that it is there and that you may read and write it")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "there is no room left for {path}: free some space, choose another --out, or leave out \
         --copy so that the weights are linked instead of copied"
    )]
    DiskFull {
        /// File that was being written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A vocabulary can't be learned or written.
    #[error("the vocabularies can't be made")]
    Learning(#[from] VocabularyError),
    /// There is no manifest.
    #[error(
        "{0} is no model directory: it has no shutterbug.toml; \
         make one with `shutterbug models convert --llama DIR --diffusion DIR --out {0}`"
    )]
    NoManifest(PathBuf),
    /// The manifest is not of its form.
    #[error(
        "{path} can't be understood; make the model directory again with \
         `shutterbug models convert`"
    )]
    Manifest {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A JSON file is not of its form.
    #[error("{path} can't be understood; put the original file in its place")]
    Json {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A file lacks something.
    #[error("{path}: {reason}")]
    Base {
        /// File concerned.
        path: PathBuf,
        /// What is missing, and what would be right.
        reason: String,
    },
    /// The manifest and the files disagree.
    #[error(
        "{manifest}: {what} is {expected}, but {path} has {found}; put the files back that the \
         manifest was made for, or make the model directory again with \
         `shutterbug models convert`"
    )]
    Mismatch {
        /// The manifest.
        manifest: PathBuf,
        /// Which entry.
        what: &'static str,
        /// What the manifest says.
        expected: String,
        /// The file on the other side.
        path: PathBuf,
        /// What that file says.
        found: String,
    },
    /// The output is already there.
    #[error("{0} is there already: choose another folder, or remove it first")]
    Occupied(PathBuf),
    /// The output would lie inside one of the sources.
    #[error("{out} lies inside {source_folder}, which it is made from: choose a folder outside")]
    InsideSource {
        /// Where the model directory was to be made.
        out: PathBuf,
        /// The source folder.
        source_folder: PathBuf,
    },
    /// An adapter can't be used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A base's weights can't be opened.
    #[error(transparent)]
    Weights(#[from] LoadError),
    /// A base's tokenizers, template or processor can't be used.
    #[error(transparent)]
    Prompt(#[from] PromptLoadError),
    /// The chat template makes no prompt.
    #[error(
        "the chat template in {path} can't be used for a dialogue with photos; put the original \
         file in its place"
    )]
    Template {
        /// The language model's folder.
        path: PathBuf,
        /// What goes wrong.
        #[source]
        source: PromptError,
    },
    /// A tokenizer makes tokens that the weights have no row for.
    #[error(
        "{tokenizer} makes ids up to {}, but {tensor} of {weights} has {rows} rows; both must be \
         of the same model",
        .tokens - 1
    )]
    Vocabulary {
        /// The tokenizer's file or folder.
        tokenizer: PathBuf,
        /// One more than its largest id.
        tokens: usize,
        /// The weights' folder.
        weights: PathBuf,
        /// The token table.
        tensor: &'static str,
        /// Its rows.
        rows: usize,
    },
    /// A tokenizer can't even encode an empty caption.
    #[error("the tokenizer in {path} fails on the empty caption; put the original files in place")]
    EmptyCaption {
        /// The tokenizers' folder.
        path: PathBuf,
        /// What goes wrong.
        #[source]
        source: PromptError,
    },
}

impl From<SaveError> for ModelError {
    fn from(SaveError { path, source }: SaveError) -> Self {
        Self::io(path)(source)
    }
}

impl ModelError {
    /// What the system said of `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_helps() {
        const ENOSPC: i32 = 28;
        const EACCES: i32 = 13;
        let told = |code| ModelError::io("model/x")(io::Error::from_raw_os_error(code)).to_string();
        assert!(told(ENOSPC).starts_with("there is no room left for model/x: free some space"));
        assert!(told(EACCES).starts_with("can't use model/x; "));
    }
}
