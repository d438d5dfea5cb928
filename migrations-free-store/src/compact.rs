//! Writing a store afresh.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use crate::backend::{Backend, Order, Write};
use crate::error::Result;
use crate::files::{self, io_error};
use crate::store::{Inner, PAGE, Store, engine_error};

impl Store {
    /// Writes all live records into a fresh generation, makes it the live one by renaming the
    /// manifest, and removes the old: afterwards the bytes of deleted and replaced records are in
    /// no file of the store. Values are copied as they are, whatever revision they have.
    ///
    /// Readers go on meanwhile, writers wait. Killed at any moment, the store is the old one or
    /// the new one, whole; the next opening removes the other.
    pub fn compact(&self) -> Result<()> {
        let inner = &self.inner;
        let sequence = inner.writer();
        let manifest = inner.live().manifest.next_generation();
        let folder = inner.folder.records(manifest.generation);
        remove_unfinished(&folder)?;

        let backend = (inner.open_backend)(&folder).map_err(engine_error("opened", &folder))?;
        let copied = inner.copy_into(&*backend, &folder);
        if let Err(error) = copied.and_then(|()| files::sync_folder(&folder)) {
            drop(backend);
            remove_unfinished(&folder)?;
            return Err(error);
        }
        inner.folder.write_manifest(&manifest)?;

        let mut live = inner.live.write().unwrap_or_else(PoisonError::into_inner);
        let closed = std::mem::replace(&mut live.backend, backend);
        live.manifest = manifest.clone();
        drop(live);
        drop(closed);
        inner.folder.remove_other_generations(Some(&manifest))?;
        inner.folder.write_watermark(*sequence)
    }
}

impl Inner {
    fn copy_into(&self, fresh: &dyn Backend, folder: &Path) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(b"", after.as_deref(), Order::Ascending)?;
            let pages_end = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone()).or(after);
            let writes = page.into_iter().map(|(key, value)| Write::Put { key, value }).collect();
            fresh.batch(writes).map_err(engine_error("written", folder))?;
            if pages_end {
                return fresh.flush().map_err(engine_error("flushed", folder));
            }
        }
    }
}

fn remove_unfinished(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io_error("remove", folder))?;
    }
    Ok(())
}
