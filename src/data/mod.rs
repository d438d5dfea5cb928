//! Dialogues in files: the one format that batch use, tests, datasets and peers share.

mod json_lines;

pub use json_lines::{LineError, Record, error_line, read_line, reply_line};
