//! `shutterbug data`: datasets.

mod check;
mod import;
mod pocket;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::Verdict;
use crate::config::Settings;

/// Import, make and inspect datasets
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Photochat(import::PhotoChat),
    Dialogcc(import::DialogCc),
    Pocket(pocket::Arguments),
    Check(check::Check),
    Stats(check::Stats),
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    match &arguments.command {
        Command::Photochat(arguments) => import::photochat(arguments, settings),
        Command::Dialogcc(arguments) => import::dialogcc(arguments, settings),
        Command::Pocket(arguments) => pocket::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Stats(arguments) => check::stats(arguments),
    }
}

/// A progress bar over a known number of things; log lines where stderr is no terminal.
fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = "{msg} {wide_bar} {pos} of {len}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a well-formed template"));
    bar.set_message(what);
    if bar.is_hidden() {
        tracing::info!("{what}: {length} to do");
    }
    bar
}
