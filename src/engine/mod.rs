//! The one thread that owns every tensor, behind a bounded fair queue.
//!
//! Callers hold plain data: they submit [`Work`], read [`Event`]s and may cancel. The system that
//! answers is made on the engine's thread and never leaves it.

mod queue;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::dialogue::{Pixels, Reply};
use crate::systems::{DrawRequest, Progress, ReplyRequest};

pub use queue::{Origin, QueueLimits};
pub use worker::Engine;

/// What the engine can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A reply to a dialogue.
    Reply(ReplyRequest),
    /// A picture of a caption.
    Draw(DrawRequest),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A reply.
    Reply(Reply),
    /// A picture.
    Picture(Pixels),
}

/// What a job says, in this order: `Accepted`, any number of `Progress`, and one of the rest, after
/// which the channel closes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It waits; `ahead` jobs come before it (the running one included).
    Accepted {
        /// Jobs before this one.
        ahead: usize,
    },
    /// It runs and got this far.
    Progress(Progress),
    /// It is finished.
    Done(Box<Outcome>),
    /// It can't be answered as asked; the sentence is for the person who asked.
    Refused(String),
    /// The model failed; the log says why. The engine goes on with the next job.
    Failed,
    /// It was cancelled, or the engine stopped before its turn came.
    Cancelled,
}

/// Why a job was not even accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much is waiting.
    #[error("{waiting} requests are waiting already")]
    QueueFull {
        /// Jobs in the queue.
        waiting: usize,
    },
    /// This person has too much waiting.
    #[error("{waiting} requests of this person are waiting already")]
    PersonLimit {
        /// That person's jobs in the queue.
        waiting: usize,
    },
    /// The engine takes no more work.
    #[error("the engine is stopping")]
    Stopping,
}

/// A submitted piece of work. Dropping it cancels the work.
#[derive(Debug)]
pub struct Job {
    /// What it says; see [`Event`] for the order.
    pub events: mpsc::UnboundedReceiver<Event>,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Stops the work at the next token or diffusion step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The last event, waiting for it on this thread; `watch` sees those before it.
    pub fn wait(mut self, mut watch: impl FnMut(Event)) -> Event {
        let mut last = None;
        while let Some(event) = self.events.blocking_recv() {
            if let Some(earlier) = last.replace(event) {
                watch(earlier);
            }
        }
        last.unwrap_or(Event::Cancelled)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel();
    }
}
