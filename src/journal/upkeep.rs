//! Keeping the store in order.

use std::io::{BufRead, Write};

use migrations_free_store::{Batch, Report, Schema, Transferred};

use super::index::IndexRecord;
use super::records::{ExchangeRecord, LastSeenRecord, MessageRecord, StaleRecord};
use super::settings::SettingsRecord;
use super::{Journal, Result};

/// Every record type that the journal ever wrote.
fn schema() -> Schema {
    Schema::default()
        .with::<MessageRecord>()
        .with::<ExchangeRecord>()
        .with::<LastSeenRecord>()
        .with::<SettingsRecord>()
        .with::<StaleRecord>()
        .with::<IndexRecord>()
}

impl Journal {
    /// Reads everything: records decode, photos are whole, and each is referred to.
    pub fn verify(&self) -> Result<Report> {
        let _writer = self.writer();
        Ok(self.store.verify(&schema())?)
    }

    /// Writes the store afresh; afterwards forgotten bytes are in no file. Readers go on.
    pub fn compact(&self) -> Result<()> {
        let _writer = self.writer();
        self.store.compact()?;
        // Afterwards: a kill in between costs another compaction, not a forgotten one.
        self.store.delete::<StaleRecord>(&[])?;
        self.flush()
    }

    /// Since when forgotten or replaced bytes lie in the store's files, waiting for
    /// [`compact`](Journal::compact); `None` where there are none.
    pub fn stale_since(&self) -> Result<Option<u64>> {
        Ok(self.store.get::<StaleRecord>(&[])?.map(|stale| stale.since_ms))
    }

    /// Writes everything as JSON Lines, unsealed: the records of one moment, then the photos.
    pub fn export(&self, to: impl Write) -> Result<Transferred> {
        Ok(self.store.export(to)?)
    }

    /// Reads what [`export`](Journal::export) wrote, into a journal that is best empty: records of
    /// the same ids are replaced. Durable when it returns.
    pub fn import(&self, from: impl BufRead) -> Result<Transferred> {
        let _writer = self.writer();
        Ok(self.store.import(from)?)
    }

    /// Removes photos that nothing refers to: what a kill left between a photo and its record, or
    /// between the removal of a record and that of its photo.
    pub(super) fn sweep(&self) -> Result<()> {
        let referenced = self.referenced_blobs().collect::<Result<Vec<_>>>()?;
        self.store.blobs().retain(referenced)?;
        Ok(())
    }

    pub(super) fn mark_stale(&self, batch: &mut Batch, now_ms: u64) -> Result<()> {
        if self.stale_since()?.is_none() {
            batch.put(&[], &StaleRecord { since_ms: now_ms })?;
        }
        Ok(())
    }
}
