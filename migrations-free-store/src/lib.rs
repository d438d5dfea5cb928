//! An append-friendly record store whose formats evolve without migrations.
//!
//! * A [`Record`] is a serde struct with a kind and a revision. Every value on disk says both, so
//!   that a reader accepts every revision ever written and raises it in memory, at read time;
//!   stored bytes are never rewritten for a new program. Fields that a reader doesn't know are
//!   ignored.
//! * A [`Store`] holds records by id, and beside them content-addressed [blobs](Blobs). What
//!   [`Store::flush`] returned for is on disk, whatever happens next; concurrent flushes share one
//!   sync. Opening a store that has lost acknowledged records is an error, not a smaller store.
//! * With a [`Key`] all values and blobs are sealed with XChaCha20-Poly1305. Ids stay readable, so
//!   they must not hold secrets.
//! * [`Store::export`] and [`Store::import`] speak JSON Lines, [`Store::verify`] walks everything,
//!   and [`Store::compact`] writes the store afresh, after which deleted bytes are in no file.
//! * The engine below is one small trait, [`Backend`]; the one that ships is sled.
//!
//! ```
//! use migrations_free_store::{Options, Record, Store};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greeting {
//!     text: String,
//!     #[serde(default)] // came later; older records lack it
//!     language: Option<String>,
//! }
//!
//! impl Record for Greeting {
//!     const KIND: &'static str = "greeting";
//!     const REVISION: u16 = 1;
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let store = Store::open(folder.path(), Options::default())?;
//! store.put(b"1", &Greeting { text: "hello".to_owned(), language: None })?;
//! store.flush()?; // now it is acknowledged
//! assert_eq!(store.get::<Greeting>(b"1")?.expect("just put").text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How a record evolves is told at [`Record`].

mod backend;
mod blobs;
mod compact;
mod envelope;
mod error;
mod files;
mod folder;
mod group_commit;
mod hex;
mod record;
mod seal;
mod sled_backend;
mod store;
mod transfer;
mod verify;

pub use backend::{Backend, BackendError, Entry, OpenBackend, Order, Problem, Write};
pub use blobs::{BlobId, Blobs, Deleted};
pub use envelope::{decode, encode};
pub use error::{Damage, Error, RecordKey, Result};
pub use record::{Record, Schema, Unreadable};
pub use seal::Key;
pub use sled_backend::open_sled;
pub use store::{Batch, Options, Scan, Store};
pub use transfer::Transferred;
pub use verify::{Finding, Report};
