//! The gateway door: events → dialogue, and replies → messages.
//!
//! What happens on Discord becomes plain data before anything acts on it; what is said and sent is
//! decided by pure functions. Only `gateway`, `attachments` and `transport`
//! touch the network.

mod address;
mod attachments;
pub mod commands;
mod delivery;
mod gateway;
mod limits;
mod message;
mod permissions;
mod rest;
mod servers;
mod split;
#[cfg(test)]
mod testing;
mod transcript;
mod translate;
mod transport;
mod typing;
pub mod wording;

pub use address::{Address, address};
pub use attachments::{Looked, PhotoFault, Photos};
pub use delivery::{ALT_TEXT_CHARS_MAX, Addressee, Said, compose, note, without_files};
pub use gateway::{Closer, Gateway, GatewayClosed};
pub use message::{
    Attachment, Author, AuthorKind, Me, Mention, Message, MessageKind, ReplyTarget, first_id_at,
    made_at_ms,
};
pub use permissions::{Need, Overwrite, Permit, Place, PlaceKind, Server};
pub use rest::{Draft, File, MESSAGES_MAX, Page, Rest, RestError};
pub use servers::{ServerChange, Servers};
pub use split::{MESSAGE_CHARS_MAX, is_blank, split};
pub use transcript::{assemble, photos_left_out, photos_wanted, window};
pub use typing::Typing;
