//! The store itself: records by kind and id.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::vec;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, Entry, OpenBackend, Order, Problem, Write};
use crate::blobs::Blobs;
use crate::envelope::{self, Opened};
use crate::error::{Error, RecordKey, Result};
use crate::folder::{Folder, Manifest};
use crate::group_commit::GroupCommit;
use crate::record::{Record, is_kind, is_reserved};
use crate::seal::{Key, Seal};
use crate::sled_backend::open_sled;

/// Larger things belong in a blob; sled would put them in files of its own.
const RECORD_BYTES_MAX: usize = 256 << 10;
/// Entries that a scan reads at a time.
pub(crate) const PAGE: usize = 256;

/// How to open a store.
pub struct Options {
    /// Seals every value and blob; the same key for the store's whole life.
    pub key: Option<Key>,
    /// The engine; [`open_sled`] by default.
    pub backend: OpenBackend,
}

impl Default for Options {
    fn default() -> Self {
        Self { key: None, backend: open_sled }
    }
}

/// Records in a folder that this process alone has open. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) live: RwLock<Live>,
    /// Numbers the writes; whoever holds it is the only writer.
    pub(crate) writer: Mutex<u64>,
    pub(crate) seal: Option<Seal>,
    pub(crate) blobs: Blobs,
    pub(crate) open_backend: OpenBackend,
    group: GroupCommit,
    /// Last, so that the lock is held until the engine has closed.
    pub(crate) folder: Folder,
}

/// The live generation.
pub(crate) struct Live {
    pub(crate) manifest: Manifest,
    pub(crate) backend: Box<dyn Backend>,
}

/// The number of the newest write, in every batch; compared with the watermark at opening.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sequence {
    pub(crate) sequence: u64,
}

impl Record for Sequence {
    const KIND: &'static str = "store.sequence";
    const REVISION: u16 = 1;
}

impl Store {
    /// Opens the store in `folder`, creating it where it is missing.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it; [`Error::WrongKey`], [`Error::KeyMissing`]
    /// and [`Error::NotSealed`] where the key doesn't fit; [`Error::Truncated`] where acknowledged
    /// records are missing.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        let Options { key, backend: open_backend } = options;
        let seal = key.map(|key| Seal::new(&key));
        let (folder, found) = Folder::open(folder, seal.as_ref())?;
        let manifest = found.clone().unwrap_or_else(|| Manifest::first(seal.as_ref()));
        let records = folder.records(manifest.generation);
        let backend = open_backend(&records).map_err(engine_error("opened", &records))?;
        if found.is_none() {
            // Last, since an engine that was killed while it set itself up may not open again.
            backend.flush().map_err(engine_error("flushed", &records))?;
            folder.write_manifest(&manifest)?;
        }
        let blobs = Blobs::open(folder.blobs(), seal.clone())?;
        let store = Self {
            inner: Arc::new(Inner {
                live: RwLock::new(Live { manifest, backend }),
                writer: Mutex::new(0),
                seal,
                blobs,
                open_backend,
                group: GroupCommit::default(),
                folder,
            }),
        };
        store.check_watermark()?;
        Ok(store)
    }

    fn check_watermark(&self) -> Result<()> {
        let found = self.get_any::<Sequence>(b"")?.map_or(0, |record| record.sequence);
        let acknowledged = self.inner.folder.read_watermark()?;
        if found < acknowledged {
            let folder = self.folder().to_owned();
            return Err(Error::Truncated { folder, acknowledged, found });
        }
        *self.inner.writer() = found;
        Ok(())
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.inner.folder.path()
    }

    /// The blobs beside the records.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// The record at `id`, raised to the present revision.
    pub fn get<R: Record>(&self, id: &[u8]) -> Result<Option<R>> {
        const { assert!(is_kind(R::KIND) && !is_reserved(R::KIND), "not a kind for a record") }
        self.get_any(id)
    }

    fn get_any<R: Record>(&self, id: &[u8]) -> Result<Option<R>> {
        let key = RecordKey::bytes(R::KIND, id);
        let live = self.inner.live();
        let value = live.backend.get(&key).map_err(self.inner.failed(&live, "read"))?;
        value.map(|value| self.inner.open(&key, &value)?.read()).transpose()
    }

    /// Whether there is a record at `id`; it isn't decoded.
    pub fn contains<R: Record>(&self, id: &[u8]) -> Result<bool> {
        let live = self.inner.live();
        let value = live.backend.get(&RecordKey::bytes(R::KIND, id));
        Ok(value.map_err(self.inner.failed(&live, "read"))?.is_some())
    }

    /// Sets the record at `id`. Visible at once, acknowledged after [`flush`](Self::flush).
    pub fn put<R: Record>(&self, id: &[u8], record: &R) -> Result<()> {
        let mut batch = self.batch();
        batch.put(id, record)?;
        batch.apply()
    }

    /// Removes the record at `id`, if there. Its bytes stay in the engine's files until
    /// [`compact`](Self::compact).
    pub fn delete<R: Record>(&self, id: &[u8]) -> Result<()> {
        let mut batch = self.batch();
        batch.delete::<R>(id);
        batch.apply()
    }

    /// Begins writes that take effect together.
    pub fn batch(&self) -> Batch<'_> {
        Batch { inner: &self.inner, writes: Vec::new() }
    }

    /// The records of a kind whose ids begin with `prefix`, with their ids. Read page by page:
    /// writes during the scan may or may not be seen.
    pub fn scan<R: Record>(&self, prefix: &[u8], order: Order) -> Scan<'_, R> {
        const { assert!(is_kind(R::KIND) && !is_reserved(R::KIND), "not a kind for a record") }
        Scan {
            inner: &self.inner,
            prefix: Some(RecordKey::bytes(R::KIND, prefix)),
            order,
            after: None,
            page: Vec::new().into_iter(),
            record: PhantomData,
        }
    }

    /// Returns when everything written before the call is on the disk itself: from then on it is
    /// acknowledged, and survives a kill or a power cut. Concurrent callers share one sync.
    pub fn flush(&self) -> Result<()> {
        let inner = &self.inner;
        inner.group.run(|| {
            let sequence = *inner.writer();
            let live = inner.live();
            live.backend.flush().map_err(inner.failed(&live, "flushed"))?;
            inner.folder.write_watermark(sequence)
        })
    }
}

impl Inner {
    pub(crate) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the only writer; the number is that of the newest write.
    pub(crate) fn writer(&self) -> MutexGuard<'_, u64> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, key: &[u8], value: &[u8]) -> Result<Opened> {
        envelope::open(key, value, self.seal.as_ref())
    }

    /// Names the engine's folder and what failed.
    pub(crate) fn failed(
        &self,
        live: &Live,
        action: &'static str,
    ) -> impl FnOnce(BackendError) -> Error + use<> {
        engine_error(action, &self.folder.records(live.manifest.generation))
    }

    /// Applies writes of already encoded values.
    pub(crate) fn apply(&self, mut writes: Vec<Write>) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut sequence = self.writer();
        let next = Sequence { sequence: *sequence + 1 };
        let value = envelope::encode_with(b"", &next, self.seal.as_ref())?;
        writes.push(Write::Put { key: RecordKey::bytes(Sequence::KIND, b""), value });
        let live = self.live();
        live.backend.batch(writes).map_err(self.failed(&live, "written"))?;
        *sequence = next.sequence;
        Ok(())
    }
}

/// Attaches what failed and where to an engine's error; locks and full disks are errors of their
/// own.
pub(crate) fn engine_error(
    action: &'static str,
    folder: &Path,
) -> impl FnOnce(BackendError) -> Error + use<> {
    let folder = folder.to_owned();
    move |source| match source.problem {
        Problem::Locked => Error::Locked { folder },
        Problem::DiskFull => Error::DiskFull { path: folder, source: source.source },
        Problem::Damaged | Problem::Other => Error::Backend { action, folder, source },
    }
}

/// Writes that take effect together, in their order.
pub struct Batch<'a> {
    inner: &'a Inner,
    writes: Vec<Write>,
}

impl Batch<'_> {
    /// Sets the record at `id`.
    pub fn put<R: Record>(&mut self, id: &[u8], record: &R) -> Result<()> {
        const { assert!(is_kind(R::KIND) && !is_reserved(R::KIND), "not a kind for a record") }
        let value = envelope::encode_with(id, record, self.inner.seal.as_ref())?;
        if value.len() > RECORD_BYTES_MAX {
            return Err(Error::TooLarge {
                key: RecordKey::new(R::KIND, id),
                bytes: value.len(),
                bytes_max: RECORD_BYTES_MAX,
            });
        }
        self.writes.push(Write::Put { key: RecordKey::bytes(R::KIND, id), value });
        Ok(())
    }

    /// Removes the record at `id`, if there.
    pub fn delete<R: Record>(&mut self, id: &[u8]) {
        self.writes.push(Write::Delete { key: RecordKey::bytes(R::KIND, id) });
    }

    /// Applies all of them: after a crash either every one is there or none. Acknowledged after
    /// [`Store::flush`].
    pub fn apply(self) -> Result<()> {
        self.inner.apply(self.writes)
    }
}

/// See [`Store::scan`]. A damaged record is an error in its place; the scan goes on behind it.
pub struct Scan<'a, R> {
    inner: &'a Inner,
    /// `None` after the engine failed.
    prefix: Option<Vec<u8>>,
    order: Order,
    after: Option<Vec<u8>>,
    page: vec::IntoIter<Entry>,
    record: PhantomData<R>,
}

impl<R: Record> Scan<'_, R> {
    /// Begins behind `id`, in the scan's order, whether or not there is a record at it. The id
    /// must begin with the scan's prefix.
    #[must_use]
    pub fn beyond(mut self, id: &[u8]) -> Self {
        self.after = Some(RecordKey::bytes(R::KIND, id));
        self
    }
}

impl<R: Record> Iterator for Scan<'_, R> {
    type Item = Result<(Vec<u8>, R)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 {
            let prefix = self.prefix.as_ref()?;
            match self.inner.page(prefix, self.after.as_deref(), self.order) {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => {
                    self.prefix = None;
                    return Some(Err(error));
                }
            }
        }
        let (key, value) = self.page.next()?;
        self.after = Some(key.clone());
        let opened = self.inner.open(&key, &value);
        Some(opened.and_then(|opened| Ok((opened.key.id.clone(), opened.read()?))))
    }
}

impl Inner {
    /// The next page of a scan over engine keys.
    pub(crate) fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        order: Order,
    ) -> Result<Vec<Entry>> {
        let live = self.live();
        live.backend.scan(prefix, after, order, PAGE).map_err(self.failed(&live, "read"))
    }
}
