//! `shutterbug run`: the bot.

use super::Verdict;
use crate::config::Settings;

/// Connect to Discord and answer
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: SHUTTERBUG_DISCORD_TOKEN=… shutterbug --config my.toml run")]
pub(crate) struct Arguments {}

pub(crate) fn run(_arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let _token = settings.discord.token.read()?;
    anyhow::bail!("no door is built in yet")
}
