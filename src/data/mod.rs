//! Dialogues in files: our own JSON Lines, which batch use, tests, datasets and peers share, and
//! the datasets of the field.

mod json_lines;
mod photochat;

pub use json_lines::{LineError, Record, error_line, read_line, reply_line};
pub use photochat::{PhotoChat, read_photochat};
