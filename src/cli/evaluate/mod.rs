//! `shutterbug evaluate`: how good a model is on held-out dialogues.

mod calibrate;
mod compare;
mod judge;
mod losses;
mod run;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::options::{DrawingOptions, LOG_INTERVAL, ModelOptions, Prepared, SystemKind};
use super::{UsageError, Verdict};
use crate::config::Settings;
use crate::dialogue::Dialogue;
use crate::systems::{Decoding, PhotoSharing, ReplyRequest};

/// Measure a model on held-out dialogues
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Losses(losses::Arguments),
    Calibrate(calibrate::Arguments),
    Judge(judge::Arguments),
    Compare(compare::Arguments),
}

pub(crate) fn run(
    arguments: &Arguments,
    settings: &Settings,
    config: Option<&Path>,
) -> anyhow::Result<Verdict> {
    match &arguments.command {
        Command::Run(arguments) => run::run(arguments, settings),
        Command::Losses(arguments) => losses::run(arguments, settings, config),
        Command::Calibrate(arguments) => calibrate::run(arguments, settings),
        Command::Judge(arguments) => judge::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
    }
}

/// Which system answers which dialogues.
#[derive(Debug, clap::Args)]
struct SubjectOptions {
    #[command(flatten)]
    model: ModelOptions,

    #[command(flatten)]
    drawing: DrawingOptions,

    /// What answers
    #[arg(long, value_name = "SYSTEM", default_value = "end-to-end")]
    system: SystemKind,

    /// Held-out dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Only the first N dialogues
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Seed of the starting noise of every photo
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Most tokens in a reply, captions included [default: the setting reply.new_tokens_max]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: Option<u32>,
}

impl SubjectOptions {
    /// How many of `dialogues` are measured.
    fn count(&self, dialogues: usize) -> usize {
        self.limit.map_or(dialogues, |limit| dialogues.min(limit as usize))
    }

    fn new_tokens_max(&self, settings: &Settings) -> usize {
        self.max_new_tokens.map_or(settings.reply.new_tokens_max, |tokens| tokens as usize)
    }

    /// Every request but for its dialogue and the adapter.
    fn request(&self, settings: &Settings, share_bias: f64) -> anyhow::Result<ReplyRequest> {
        if !share_bias.is_finite() {
            return Err(UsageError("--share-bias must be a finite number".to_owned()).into());
        }
        Ok(ReplyRequest {
            dialogue: Dialogue::default(),
            system_text: settings.reply.system_text.clone(),
            photos: PhotoSharing::On,
            decoding: Decoding::Greedy,
            share_bias,
            new_tokens_max: self.new_tokens_max(settings),
            drawing: self.drawing.drawing(settings)?,
            seed: self.seed,
            adapter: None,
            trace: None,
        })
    }

    fn prepare(&self, settings: &Settings) -> anyhow::Result<Prepared> {
        let tokens = self.max_new_tokens.map(|tokens| tokens as usize);
        let demand = self.drawing.demand(settings).with_new_tokens_max(tokens);
        self.model.prepare(settings, &demand)
    }
}

/// A progress bar over things called `what`; log lines where stderr is no terminal.
fn progress(what: &'static str) -> impl FnMut(usize, usize) {
    let bar = ProgressBar::new(0);
    let style = "{wide_bar} {pos} of {len} {msg}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a well-formed template"));
    bar.set_message(what);
    let mut logged = Instant::now();
    move |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        if bar.is_hidden() && (done == of || logged.elapsed() >= LOG_INTERVAL) {
            logged = Instant::now();
            tracing::info!("{done} of {of} {what}");
        }
        if done == of {
            bar.finish_and_clear();
        }
    }
}
