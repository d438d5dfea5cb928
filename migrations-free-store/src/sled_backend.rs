//! sled behind the trait.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::backend::{Backend, BackendError, Entry, Order, Problem, Write};
use crate::files::is_disk_full;

/// sled's default of a gigabyte suits a server that does nothing else.
const CACHE_BYTES: u64 = 16 << 20;

struct Sled {
    db: sled::Db,
    /// sled's log, a second time: see [`Backend::flush`] below.
    log: File,
}

/// Opens sled in `folder`: the engine of every store unless told otherwise.
pub fn open_sled(folder: &Path) -> Result<Box<dyn Backend>, BackendError> {
    remove_unfinished_snapshots(folder).map_err(sled::Error::Io)?;
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES);
    // sled panics on some damage to its files.
    let db = guarded(|| config.open())?;
    let log = File::open(folder.join("db")).map_err(sled::Error::Io)?;
    Ok(Box::new(Sled { db, log }))
}

impl Backend for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(guarded(|| self.db.get(key))?.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, BackendError> {
        guarded(|| {
            let end = prefix_end(prefix);
            let mut low = Bound::Included(prefix);
            let mut high = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            match (after, order) {
                (None, _) => {}
                (Some(key), Order::Ascending) => low = Bound::Excluded(key),
                (Some(key), Order::Descending) => high = Bound::Excluded(key),
            }
            let entries = self.db.range::<&[u8], _>((low, high));
            let plain = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
                entry.map(|(key, value)| (key.to_vec(), value.to_vec()))
            };
            match order {
                Order::Ascending => entries.take(limit).map(plain).collect(),
                Order::Descending => entries.rev().take(limit).map(plain).collect(),
            }
        })
    }

    fn batch(&self, writes: Vec<Write>) -> Result<(), BackendError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                Write::Put { key, value } => batch.insert(key, value),
                Write::Delete { key } => batch.remove(key),
            }
        }
        guarded(|| self.db.apply_batch(batch))
    }

    /// sled's own flush ends in `sync_file_range`, which leaves file sizes and the drive's cache
    /// behind; hence the fsync.
    fn flush(&self) -> Result<(), BackendError> {
        guarded(|| {
            self.db.flush()?;
            Ok(self.log.sync_all()?)
        })
    }
}

/// sled 0.34 writes a snapshot under this name and renames it; after a kill in between it takes
/// the torn file for its newest snapshot and refuses to open.
fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The smallest key behind all that begin with `prefix`; `None` where there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Runs a call into sled; a panic of its own is an error like any other.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, BackendError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            Err(BackendError { problem: Problem::Damaged, source: panic_message(&*panic).into() })
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("sled panicked: {}", text.unwrap_or("it didn't say why"))
}

impl From<sled::Error> for BackendError {
    fn from(error: sled::Error) -> Self {
        let problem = match &error {
            sled::Error::Corruption { .. } => Problem::Damaged,
            sled::Error::Io(io) if is_disk_full(io) => Problem::DiskFull,
            // sled 0.34 tells a held lock by these words alone.
            sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
                Problem::Locked
            }
            sled::Error::Io(io) if io.kind() == io::ErrorKind::InvalidData => Problem::Damaged,
            _ => Problem::Other,
        };
        Self { problem, source: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::{open_sled, prefix_end};
    use std::fs;

    #[test]
    fn a_snapshot_torn_by_a_kill_does_not_keep_sled_from_opening() {
        let folder = tempfile::tempdir().expect("a folder");
        let sled = open_sled(folder.path()).expect("opens");
        sled.put(b"key", b"value").expect("writes");
        sled.flush().expect("flushes");
        drop(sled);
        fs::write(folder.path().join("snap.FFFFFFFFFFFFFFFF.generating"), b"to").expect("writes");
        let sled = open_sled(folder.path()).expect("opens");
        assert_eq!(sled.get(b"key").expect("reads").as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn the_end_of_a_prefix_carries() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
