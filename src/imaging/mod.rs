//! Photo files: bytes into [`crate::dialogue::Pixels`] under limits, and pixels into PNG.
//!
//! A file's format is read from its content, never from its name or its declared type. What it
//! claims to hold is checked against [`Limits`] before anything of its picture is decoded.

mod decode;
mod encode;
mod error;
mod shrink;
mod whole;

pub use decode::{Limits, decode};
pub use encode::encode_png;
pub use error::PhotoError;
pub use shrink::shrink;
