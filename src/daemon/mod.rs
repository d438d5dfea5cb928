//! One closed [`Event`] enum, and the loop that joins door, engine and journal.
//!
//! A message that deserves an answer is accepted in the journal before anything else happens, and
//! each runs as a task of its own from there to its reply. What was accepted and not finished when
//! the process ended, however it ended, is taken up again at the next start.

mod answer;
mod commands;
mod deliver;
mod event;
mod house;
mod record;
mod steward;
mod upkeep;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::{Secret, Settings};
use crate::discord::{Closer, Gateway, GatewayClosed, Photos, Rest, RestError};
use crate::engine::Engine;
use crate::journal::{self, Journal, StoreError};

pub use event::{Ending, Event, Session};

use house::House;
use steward::Steward;

/// How often what was postponed is looked at.
const TIMER: Duration = Duration::from_secs(5);
/// Longest that saying goodbye to the gateway may take.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(3);

/// Why the daemon stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Discord's REST API says no.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// Discord's gateway says no.
    #[error(transparent)]
    Gateway(#[from] GatewayClosed),
    /// No HTTP client could be made for downloads.
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
    /// The journal can't be written: going on would lose what people are told is kept.
    #[error(
        "the bot stops because it can't keep its journal; {}, then start the bot again: what it \
         accepted is answered then",
        journal_advice(.0)
    )]
    Journal(#[from] journal::Error),
}

/// What an operator can do about the journal.
fn journal_advice(error: &journal::Error) -> &'static str {
    match error {
        journal::Error::Store(StoreError::DiskFull { .. }) => {
            "make room on the disk that holds store.directory"
        }
        journal::Error::Store(StoreError::Io { .. } | StoreError::Backend { .. }) => {
            "see that store.directory can be written and that its disk is sound"
        }
        _ => "restore a backup of store.directory, or move the folder away to begin a new one",
    }
}

/// What the daemon is made of.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// The bot token.
    pub token: Secret,
    /// What computes.
    pub engine: Engine,
    /// The revision of the resident adapter that replies are written with.
    pub adapter: Option<String>,
    /// What remembers.
    pub journal: Journal,
}

/// Answers on Discord until `stop` is ready, then finishes what is being written.
pub async fn run(parts: Parts, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
    let Parts { settings, token, engine, adapter, journal } = parts;
    let rest = Rest::new(&settings.discord, &token)?;
    let photos = Photos::new(&settings.attachments)?;
    let me = rest.me().await?;
    let (events, mut inbox) = mpsc::unbounded_channel();
    let gateway =
        Gateway::prepare(&settings.discord, &token, &rest, me.clone(), events.clone()).await?;
    let grace_max = settings.shutdown.grace_max;
    let house = Arc::new(House { rest, photos, engine, adapter, journal, me, settings });
    let mut steward = Steward::new(Arc::clone(&house), events).await?;

    let closer = gateway.closer();
    let mut connection = pin!(gateway.run());
    let mut stop = pin!(stop);
    let mut timer = tokio::time::interval(TIMER);
    let ended = loop {
        let event = tokio::select! {
            () = &mut stop => Event::Shutdown,
            closed = &mut connection => Event::Closed(closed.err()),
            Some(event) = inbox.recv() => event,
            _ = timer.tick() => Event::Timer,
        };
        match event {
            Event::Shutdown => break Ok(()),
            Event::Closed(why) => break Err(why.unwrap_or(GatewayClosed::Lost).into()),
            Event::Broken(error) => break Err(error.into()),
            event => {
                if let Err(error) = steward.handle(event).await {
                    break Err(error.into());
                }
            }
        }
    };
    if !matches!(ended, Err(DaemonError::Gateway(_))) {
        goodbye(&closer, connection).await;
    }
    if matches!(ended, Err(DaemonError::Journal(_))) {
        // What could still be sent could not be recorded any more.
        drop(steward);
        house.stop().await;
        return ended;
    }
    tracing::info!("stopping; replies that are being written may finish");
    steward.finish(&mut inbox, grace_max).await?;
    house.close().await?;
    ended
}

/// Leaves the gateway, so that nothing more comes in. The connection must be driven meanwhile.
async fn goodbye(closer: &Closer, connection: impl Future) {
    let closed = tokio::time::timeout(GOODBYE_TIME_MAX, async {
        tokio::select! {
            () = closer.close() => {}
            _ = connection => {}
        }
    });
    if closed.await.is_err() {
        tracing::warn!("the gateway didn't answer the goodbye");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full = StoreError::DiskFull {
            path: "store/records".into(),
            source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
        };
        let told = DaemonError::from(journal::Error::from(full)).to_string();
        insta::assert_snapshot!(
            told,
            @"the bot stops because it can't keep its journal; make room on the disk that holds store.directory, then start the bot again: what it accepted is answered then"
        );
    }
}
