//! The gateway door: events → dialogue, and replies → messages.
//!
//! What happens on Discord becomes plain data before anything acts on it; what is said and sent is
//! decided by pure functions. Only `gateway`, `attachments` and `rest` touch the network.

mod address;
mod message;
mod permissions;
mod split;
#[cfg(test)]
mod testing;
mod transcript;
pub mod wording;

pub use address::{Address, address};
pub use message::{
    Attachment, Author, AuthorKind, Me, Mention, Message, MessageKind, ReplyTarget, first_id_at,
    made_at_ms,
};
pub use permissions::{Need, Overwrite, Permit, Place, PlaceKind, Server};
pub use split::{MESSAGE_CHARS_MAX, is_blank, split};
pub use transcript::{assemble, photos_wanted, window};
