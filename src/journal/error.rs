//! What can go wrong in the journal.

use super::nouns::MessageId;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the journal can't do what was asked. It names what and where, never what a record holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store below failed; nothing was acknowledged.
    #[error("the journal can't be read or written")]
    Store(#[from] migrations_free_store::Error),
    /// An entry of an index has a key that no program writes.
    #[error("an index entry of the journal has a key of {bytes} bytes")]
    Index {
        /// The key's length.
        bytes: usize,
    },
    /// An index names an exchange that isn't there.
    #[error("the journal's index names an exchange for message {0} that isn't there")]
    Exchange(MessageId),
}
