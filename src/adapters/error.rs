//! Why an adapter can't be read or written.

use std::io;
use std::path::PathBuf;

use crate::torch::{LoadError, SaveError};

/// Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The folder holds neither half.
    #[error(
        "{0} is no adapter: neither llama/adapter_model.safetensors nor \
         diffusion/pytorch_lora_weights.safetensors is there; name a folder that training wrote"
    )]
    Nothing(PathBuf),
    /// The operating system refused.
    #[error("can't use {path}; see that it is there and that you may read and write it")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A configuration is not of its form.
    #[error("{path} can't be understood; put the original file in its place")]
    Json {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A kind of adapter that this program can't run or write.
    #[error("{path}: the adapter uses {what}, which is not supported; plain LoRA is")]
    Unsupported {
        /// File concerned.
        path: PathBuf,
        /// What it uses.
        what: String,
    },
    /// It was trained on another model.
    #[error(
        "{path} was trained on the base {trained_on}, but this model's base is {base}: use it with \
         the model it was made for"
    )]
    OtherBase {
        /// File concerned.
        path: PathBuf,
        /// Fingerprint in the file.
        trained_on: String,
        /// Fingerprint of the model at hand.
        base: String,
    },
    /// A layer that the base does not have.
    #[error(
        "{path}: it adapts {layer}, which this base model does not have; use it with \
         the model it was made for"
    )]
    Foreign {
        /// File concerned.
        path: PathBuf,
        /// The layer's or table's name in the file.
        layer: String,
    },
    /// Trained token rows and the configuration's token ids disagree.
    #[error("{path}: {rows} rows of {table} were trained, but adapter_config.json names {ids} ids")]
    Rows {
        /// File concerned.
        path: PathBuf,
        /// The table's name in the file.
        table: String,
        /// Rows in the file.
        rows: i64,
        /// Ids in the configuration.
        ids: usize,
    },
    /// A weights file can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A weights file can't be written.
    #[error(transparent)]
    Save(#[from] SaveError),
}
