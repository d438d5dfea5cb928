//! Writes the journal afresh when deleted bytes have lain in its files for long enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::house::{House, now_ms};
use crate::journal::{self, Journal};

/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(3600);

/// At most one compaction at a time, beside everything else.
pub(super) struct Upkeep {
    house: Arc<House>,
    busy: Arc<AtomicBool>,
}

impl Upkeep {
    pub(super) fn new(house: Arc<House>) -> Self {
        Self { house, busy: Arc::default() }
    }

    /// Starts a compaction if one is due and none runs.
    pub(super) async fn look(&self) -> journal::Result<()> {
        if self.busy.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(since_ms) = self.house.in_journal(Journal::stale_since).await? else {
            return Ok(());
        };
        let stale = Duration::from_millis(now_ms().saturating_sub(since_ms));
        if stale < self.house.settings.store.deleted_max {
            return Ok(());
        }
        self.busy.store(true, Ordering::Release);
        let (house, busy) = (Arc::clone(&self.house), Arc::clone(&self.busy));
        tokio::spawn(async move {
            if let Err(error) = house.in_journal(Journal::compact).await {
                log_failure(&error);
                tokio::time::sleep(AFTER_FAILURE).await;
            } else {
                tracing::info!("wrote the store afresh; deleted bytes are gone");
            }
            busy.store(false, Ordering::Release);
        });
        Ok(())
    }
}

fn log_failure(error: &journal::Error) {
    let error: &dyn std::error::Error = error;
    tracing::error!(error, "the store can't be written afresh; is the disk full?");
}
