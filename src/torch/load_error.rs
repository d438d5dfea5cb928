//! Why weights could not be loaded.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensorError};

/// Why weights could not be loaded. Every message names the file and, where there is one, the
/// tensor, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither a single file nor an index of shards.
    #[error(
        "no weights in {dir}: neither {stem}.safetensors nor {stem}.safetensors.index.json is \
         there; download the folder again, in the safetensors format"
    )]
    NoCheckpoint {
        /// Folder looked into.
        dir: PathBuf,
        /// File name without extension.
        stem: String,
    },
    /// The operating system refused.
    #[error("can't read {path}; see that it is there and that you may read it")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is shorter than its own header says.
    #[error("{path} is cut off: it has {found} of at least {expected} bytes; download it again")]
    Truncated {
        /// File concerned.
        path: PathBuf,
        /// Bytes that its header asks for.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The header is not that of a safetensors file.
    #[error("{path} is damaged or no safetensors file; download it again")]
    Broken {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: SafeTensorError,
    },
    /// A JSON file is not what it should be.
    #[error("{path} can't be understood; put the published file in its place")]
    Json {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor is not there.
    #[error(
        "{path} lacks the tensor {tensor} {expected:?}; weights and configuration must be of the \
         same model and complete"
    )]
    Missing {
        /// File or folder searched.
        path: PathBuf,
        /// Hugging Face name.
        tensor: String,
        /// Shape wanted.
        expected: Vec<i64>,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{path}: the tensor {tensor} has shape {found:?}, but the configuration asks for \
         {expected:?}; weights and configuration must be of the same model"
    )]
    Shape {
        /// File concerned.
        path: PathBuf,
        /// Hugging Face name.
        tensor: String,
        /// Shape wanted.
        expected: Vec<i64>,
        /// Shape in the file.
        found: Vec<i64>,
    },
    /// A stored format that no weight has.
    #[error(
        "{path}: the tensor {tensor} is stored as {found:?}; take the original weights, in \
         float32, float16 or bfloat16"
    )]
    Format {
        /// File concerned.
        path: PathBuf,
        /// Hugging Face name.
        tensor: String,
        /// Format in the file.
        found: Dtype,
    },
    /// Tensors that no part of the model asked for.
    #[error(
        "{path} holds the tensor {first} {shape:?}{}, which this model does not use; weights and \
         configuration must be of the same model",
        and_others(*.others)
    )]
    Unused {
        /// File or folder concerned.
        path: PathBuf,
        /// The first by name.
        first: String,
        /// Its shape.
        shape: Vec<i64>,
        /// How many more.
        others: usize,
    },
    /// A configuration that this program can't run.
    #[error("{path}: {reason}")]
    Config {
        /// File concerned.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} more") }
}
