//! Dialogues in files: our own JSON Lines, which batch use, tests, datasets and peers share, the
//! datasets of the field, and the pocket world. All of them become one type, [`Example`].

mod dataset;
mod dialogcc;
mod example;
mod import;
mod json_lines;
mod photochat;
pub mod pocket;
mod statistics;

pub use dataset::{Dataset, DatasetError, ExampleWriter, Fault};
pub use dialogcc::read_dialogcc;
pub use example::{
    Example, ExampleElement, ExamplePhoto, ExampleTurn, PhotoFileError, Picture, load_photo,
};
pub use import::{ImportError, PhotoFolder};
pub use json_lines::{
    LineError, Record, error_line, example_line, read_example, read_line, reply_line, with_causes,
};
pub use photochat::read_photochat;
pub use statistics::{Statistics, Timing, keyword_rule};
