//! What every piece of work needs.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Settings, Switch};
use crate::dialogue::Dialogue;
use crate::discord::{Me, Photos, Rest};
use crate::engine::Engine;
use crate::journal::{self, Journal};
use crate::systems::{Decoding, Drawing, PhotoSharing, ReplyRequest};

/// The daemon's parts, shared by all its tasks.
pub(super) struct House {
    pub(super) rest: Rest,
    pub(super) photos: Photos,
    pub(super) engine: Engine,
    /// The revision of the adapter that replies are written with.
    pub(super) adapter: Option<String>,
    pub(super) journal: Journal,
    pub(super) me: Me,
    pub(super) settings: Settings,
}

impl House {
    /// Works with the journal, which waits for the disk, on a thread that may wait.
    pub(super) async fn in_journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> journal::Result<T> + Send + 'static,
    ) -> journal::Result<T> {
        let journal = self.journal.clone();
        match tokio::task::spawn_blocking(move || work(&journal)).await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// What the model is asked for in answer to message `id`, which also seeds every random draw.
    pub(super) fn request(
        &self,
        dialogue: Dialogue,
        id: u64,
        photos: PhotoSharing,
    ) -> ReplyRequest {
        let (reply, drawing) = (&self.settings.reply, &self.settings.drawing);
        let decoding = if reply.temperature > 0.0 {
            Decoding::Sample { temperature: reply.temperature, top_p: reply.top_p }
        } else {
            Decoding::Greedy
        };
        ReplyRequest {
            dialogue,
            system_text: reply.system_text.clone(),
            photos: match reply.photos {
                Switch::On => photos,
                Switch::Off => PhotoSharing::Off,
            },
            decoding,
            share_bias: reply.share_bias,
            new_tokens_max: reply.new_tokens_max,
            drawing: Drawing {
                steps: drawing.steps,
                guidance: drawing.guidance,
                size: drawing.size,
                latents: None,
            },
            seed: id,
            adapter: self.adapter.clone(),
            trace: None,
        }
    }

    /// Stops the engine and sees to it that all is on the disk.
    pub(super) async fn close(&self) -> journal::Result<()> {
        self.stop().await;
        self.in_journal(Journal::flush).await
    }

    /// Stops the engine.
    pub(super) async fn stop(&self) {
        let engine = self.engine.clone();
        // It waits for the job that runs, which is cancelled by now.
        let stopped = tokio::task::spawn_blocking(move || engine.stop()).await;
        if stopped.is_err() {
            tracing::error!("the engine's thread panicked while it stopped");
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    now.as_millis() as u64
}
