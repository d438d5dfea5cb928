//! The one trait behind which the engine stands, so that it can be replaced.

use std::path::Path;

/// An ordered map of bytes on disk.
///
/// Writes are visible at once and durable after [`flush`](Backend::flush). After a crash at any
/// moment the map holds every flushed write and some prefix of the later ones, each batch whole or
/// not at all.
pub trait Backend: Send + Sync {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// Up to `limit` entries whose keys begin with `prefix`, in `order`, beginning behind the key
    /// `after` where one is given.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, BackendError>;

    /// Applies all writes in their order, together.
    fn batch(&self, writes: Vec<Write>) -> Result<(), BackendError>;

    /// Returns when everything written before the call is on the disk itself.
    fn flush(&self) -> Result<(), BackendError>;

    /// Sets one value.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.batch(vec![Write::Put { key: key.to_vec(), value: value.to_vec() }])
    }

    /// Removes one value, if there.
    fn delete(&self, key: &[u8]) -> Result<(), BackendError> {
        self.batch(vec![Write::Delete { key: key.to_vec() }])
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Opens an engine in a folder of its own, which it creates where it is missing.
pub type OpenBackend = fn(&Path) -> Result<Box<dyn Backend>, BackendError>;

/// One write of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Set.
    Put {
        /// Where.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// Remove, if there.
    Delete {
        /// Where.
        key: Vec<u8>,
    },
}

/// The order of a scan, by key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// What an engine reports.
#[derive(Debug, thiserror::Error)]
#[error("{}", match problem {
    Problem::Locked => "another process holds the lock",
    Problem::DiskFull => "no space is left",
    Problem::Damaged => "the engine's files are damaged",
    Problem::Other => "the engine failed",
})]
pub struct BackendError {
    /// Its class.
    pub problem: Problem,
    /// The engine's own error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The classes of an engine's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Another process has it open.
    Locked,
    /// No space left on the device, a quota or a file-size limit reached.
    DiskFull,
    /// The files are not what the engine wrote.
    Damaged,
    /// Anything else.
    Other,
}
