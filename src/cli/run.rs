//! `shutterbug run`: the bot.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::Verdict;
use super::options::{Demand, ModelOptions};
use crate::config::Settings;
use crate::daemon::{self, Parts};
use crate::discord::Rest;
use crate::journal::Journal;

/// Connect to Discord and answer
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: SHUTTERBUG_DISCORD_TOKEN=… shutterbug --config my.toml run --model model"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let prepared = arguments.model.prepare(settings, &Demand::of_settings(settings))?;
    let token = settings.discord.token.read()?;
    // One thread: events keep their order, and what computes or waits for the disk has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the model is loaded, which can take minutes.
    let me = runtime.block_on(async { Rest::new(&settings.discord, &token)?.me().await })?;
    tracing::info!(bot = me.id, "Discord accepts the token");
    let folder = &settings.store.directory;
    let journal = Journal::open(folder, None)
        .with_context(|| format!("can't open the journal in {}", folder.display()))?;
    let (engine, adapter) = prepared.load()?;
    let parts = Parts { settings: settings.clone(), token, engine, adapter, journal };
    runtime.block_on(async {
        daemon::run(parts, stop_signal()?).await?;
        anyhow::Ok(())
    })?;
    Ok(Verdict::Fine)
}

/// Ready at the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
