//! Dialogue, turn, element, reply: pure nouns and their transitions. No IO, no async, no stored
//! forms, no tensors.

mod photo;
mod redacted;
mod reply;
mod turn;

pub use photo::{Photo, Pixels};
pub use redacted::Redacted;
pub use reply::{Reply, Timings};
pub use turn::{Dialogue, Element, Speaker, Turn};
