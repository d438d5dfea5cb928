//! What can go wrong, naming what and where; never what a record holds.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::backend::BackendError;
use crate::blobs::BlobId;
use crate::hex;
use crate::record::Unreadable;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store can't do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has it open.
    #[error("the store in {folder} is in use by another process", folder = folder.display())]
    Locked {
        /// The store's folder.
        folder: PathBuf,
    },
    /// Nothing more can be written. What was acknowledged before is safe.
    #[error("no space is left to write {path}", path = path.display())]
    DiskFull {
        /// The file or folder that was to grow.
        path: PathBuf,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation failed.
    #[error("can't {action} {path}", path = path.display())]
    Io {
        /// A verb: read, write, sync, rename…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine below failed or met damage in its own files.
    #[error("the records in {folder} can't be {action}", folder = folder.display())]
    Backend {
        /// A participle: opened, read, written, flushed.
        action: &'static str,
        /// The engine's folder.
        folder: PathBuf,
        /// What it said.
        source: BackendError,
    },
    /// The manifest isn't one that this program can read.
    #[error("{path} is not a store's manifest: {problem}", path = path.display())]
    Manifest {
        /// The manifest file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Acknowledged records are missing: files were truncated, replaced or restored in part.
    #[error(
        "the store in {folder} lost acknowledged writes: {acknowledged} were acknowledged, the \
         records reach only to {found}; restore a backup",
        folder = folder.display()
    )]
    Truncated {
        /// The store's folder.
        folder: PathBuf,
        /// How many writes were acknowledged.
        acknowledged: u64,
        /// The newest write that is there.
        found: u64,
    },
    /// Another key sealed this store.
    #[error("the key given is not the one that sealed the store in {folder}", folder = folder.display())]
    WrongKey {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The store is sealed and no key was given.
    #[error("the store in {folder} is sealed and no key was given", folder = folder.display())]
    KeyMissing {
        /// The store's folder.
        folder: PathBuf,
    },
    /// A key was given for a store that is not sealed.
    #[error(
        "the store in {folder} is not sealed but a key was given; to seal it, export it and \
         import it into a new folder with the key",
        folder = folder.display()
    )]
    NotSealed {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The text of a key isn't one.
    #[error("a key is 64 hexadecimal digits (32 bytes)")]
    KeyFormat,
    /// A value is not what was written.
    #[error("record {key} is damaged: {damage}")]
    Corrupt {
        /// Which record.
        key: RecordKey,
        /// In which way.
        damage: Damage,
    },
    /// A newer program wrote this record.
    #[error("record {key} has revision {found}, this program reads up to {known}: upgrade it")]
    Newer {
        /// Which record.
        key: RecordKey,
        /// Its revision.
        found: u16,
        /// The newest that this program knows.
        known: u16,
    },
    /// A record of an earlier revision couldn't be raised to the present one.
    #[error("record {key} of revision {revision} can't be read")]
    Upgrade {
        /// Which record.
        key: RecordKey,
        /// The revision that it was stored in.
        revision: u16,
        /// What its upgrade said.
        source: Unreadable,
    },
    /// A record can't be written as JSON.
    #[error("a record of kind {kind} can't be encoded")]
    Encode {
        /// Its kind.
        kind: &'static str,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A record is larger than the engine keeps well.
    #[error("record {key} has {bytes} bytes, more than {bytes_max}: large things belong in a blob")]
    TooLarge {
        /// Which record.
        key: RecordKey,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A blob isn't there.
    #[error("blob {id} is missing: {path} does not exist", path = path.display())]
    BlobMissing {
        /// Which blob.
        id: BlobId,
        /// Where it should lie.
        path: PathBuf,
    },
    /// A blob's bytes are not those that were written.
    #[error("blob {path} is damaged: {damage}", path = path.display())]
    BlobCorrupt {
        /// Where it lies.
        path: PathBuf,
        /// In which way.
        damage: Damage,
    },
    /// An import stopped at a line. The lines before it are in the store.
    #[error("line {line} of the import {problem}")]
    Import {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The stream of an export or import failed.
    #[error("can't {action}")]
    Stream {
        /// "write the export" or "read the import".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// In which way stored bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Shorter than its own header says.
    Short,
    /// The envelope's format is none that was ever written.
    Format(u8),
    /// The value names another kind than its key.
    Kind,
    /// The checksum doesn't match.
    Checksum,
    /// It doesn't open under this key: its bytes or its place were changed.
    Seal,
    /// A sealed value in an open store, or the reverse.
    Sealing,
    /// The content isn't what the name, a hash, says.
    Hash,
    /// The fields don't fit the record. Category and column are `serde_json`'s; its own words
    /// aren't kept, as they quote the value.
    Fields {
        /// Syntax, data or end of input.
        category: serde_json::error::Category,
        /// Where in the payload, from 1.
        column: usize,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("it is cut short"),
            Self::Format(format) => write!(f, "envelope format {format} is unknown"),
            Self::Kind => f.write_str("its value names another kind than its key"),
            Self::Checksum => f.write_str("its checksum doesn't match"),
            Self::Seal => {
                f.write_str("its seal doesn't match; its bytes or its place were changed")
            }
            Self::Sealing => f.write_str("it is sealed in an open store, or open in a sealed one"),
            Self::Hash => f.write_str("its content doesn't match its hash"),
            Self::Fields { category, column } => {
                write!(f, "its fields don't fit ({category:?} error at byte {column})")
            }
        }
    }
}

impl From<&serde_json::Error> for Damage {
    fn from(error: &serde_json::Error) -> Self {
        Self::Fields { category: error.classify(), column: error.column() }
    }
}

/// A record's place: its kind and its id, shown as `kind/hexadecimal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordKey {
    /// The record's kind.
    pub kind: String,
    /// The id it was put under.
    pub id: Vec<u8>,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, hex::encode(&self.id))
    }
}

impl RecordKey {
    pub(crate) fn new(kind: &str, id: &[u8]) -> Self {
        Self { kind: kind.to_owned(), id: id.to_vec() }
    }

    /// Takes an engine key apart.
    pub(crate) fn parse(key: &[u8]) -> Self {
        match key.iter().position(|&byte| byte == 0) {
            Some(end) => Self {
                kind: String::from_utf8_lossy(&key[..end]).into_owned(),
                id: key[end + 1..].to_vec(),
            },
            None => Self { kind: String::new(), id: key.to_vec() },
        }
    }

    /// The key in the engine: kind, a zero byte, id.
    pub(crate) fn bytes(kind: &str, id: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(kind.len() + 1 + id.len());
        key.extend_from_slice(kind.as_bytes());
        key.push(0);
        key.extend_from_slice(id);
        key
    }
}
