//! What can go wrong with a model directory's prompt files, and with a prompt.

use std::io;
use std::path::PathBuf;

/// A tokenizer, template or processor file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptLoadError {
    /// A file can't be read.
    #[error("can't read {path}; see that it is there and that you may read it")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
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
    /// The tokenizer library refuses the file.
    #[error("{path} makes no tokenizer; put the original file in its place")]
    Tokenizer {
        /// File concerned.
        path: PathBuf,
        /// What the library says.
        #[source]
        source: tokenizers::Error,
    },
    /// The chat template doesn't parse.
    #[error("{path} holds no chat template that can be read; put the original file in its place")]
    Template {
        /// File concerned.
        path: PathBuf,
        /// What the template engine says.
        #[source]
        source: minijinja::Error,
    },
    /// A file is well-formed but says something that can't be served.
    #[error("{path}: {reason}")]
    Unusable {
        /// File concerned.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A dialogue that makes no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is no turn.
    #[error("nobody has said anything yet")]
    Empty,
    /// What must stay in the prompt doesn't fit.
    #[error("the system text and the template alone exceed {tokens_max} tokens")]
    NoRoom {
        /// The budget.
        tokens_max: usize,
    },
    /// The chat template fails on the dialogue.
    #[error("the chat template fails")]
    Template(#[source] minijinja::Error),
    /// The chat template loses, repeats or moves what was said.
    #[error("the chat template doesn't keep the dialogue's order")]
    Reordered,
    /// The tokenizer fails.
    #[error("the tokenizer fails")]
    Tokenizer(#[source] tokenizers::Error),
}
