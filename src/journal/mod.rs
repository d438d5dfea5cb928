//! What was said, what was answered and with what it was made; the only user of
//! `migrations-free-store`.
//!
//! Messages are kept once each, by their id, with author, channel, guild and photos apart; an
//! exchange refers to the messages that the model saw. So a deleted message, a forgotten person
//! or a closed channel is reached wherever it went. Photos are blobs, removed with the last record
//! that refers to them.
//!
//! The life of an exchange, each step durable before it returns:
//! [`accept`](Journal::accept) before any work begins → [`prepare`](Journal::prepare) before
//! anything of the reply is sent → [`answered`](Journal::answered) or
//! [`explained`](Journal::explained) after delivery. After a kill
//! [`unfinished`](Journal::unfinished) lists what was accepted and not finished, and
//! [`prepared`](Journal::prepared) has the reply that may have been sent in part.
//!
//! The journal is synchronous and its clones share one store: call it from async code through
//! `spawn_blocking`. The clock is an argument; times are milliseconds since the Unix epoch.

mod error;
mod exchanges;
mod forget;
#[cfg(test)]
mod golden;
mod index;
mod messages;
mod nouns;
mod records;
mod settings;
mod upkeep;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migrations_free_store::{Options, Store};

pub use error::{Error, Result};
pub use migrations_free_store::{BlobId, Error as StoreError, Finding, Key, Report, Transferred};
pub use nouns::{
    Acceptance, Answer, AuthorId, ChannelId, Exchange, Explanation, Forgotten, GuildId, Heard,
    Message, MessageId, Outcome, PhotoRule, Piece, Place, Reason, Recorded, Request, Seen, State,
    Whose,
};

pub use settings::Realm;

/// Everything that Shutterbug remembers. Clones are cheap and share it.
#[derive(Clone)]
pub struct Journal {
    store: Store,
    /// Held while records are read to be changed.
    writer: Arc<Mutex<()>>,
}

impl Journal {
    /// Opens the journal in `folder`, creating it where it is missing, sealed if a `key` is given.
    ///
    /// # Errors
    /// When another process has it open, the key doesn't fit or acknowledged records are missing;
    /// see [`migrations_free_store::Error`].
    pub fn open(folder: &Path, key: Option<Key>) -> Result<Self> {
        let store = Store::open(folder, Options { key, ..Options::default() })?;
        let journal = Self { store, writer: Arc::default() };
        journal.sweep()?;
        Ok(journal)
    }

    /// Returns when everything written before is on the disk itself.
    pub fn flush(&self) -> Result<()> {
        Ok(self.store.flush()?)
    }

    /// The encoded bytes of a photo, as they were given.
    pub fn photo(&self, blob: BlobId) -> Result<Vec<u8>> {
        Ok(self.store.blobs().get(blob)?)
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
