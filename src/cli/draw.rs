//! `shutterbug draw`: the drawing half alone.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::Verdict;
use super::options::{DrawingOptions, LOCAL, ModelOptions, RecordOptions, follow};
use crate::config::Settings;
use crate::engine::{Outcome, Work};
use crate::imaging;
use crate::systems::DrawRequest;

/// Draw a caption
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug draw --model model --seed 7 --out cup.png \"a red cup on a table\""
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,

    #[command(flatten)]
    drawing: DrawingOptions,

    #[command(flatten)]
    record: RecordOptions,

    /// PNG file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// What to draw
    caption: String,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let drawing = arguments.drawing.drawing(settings)?;
    let demand = arguments.drawing.demand(settings).without_text();
    let (engine, adapter) = arguments.model.prepare(settings, &demand)?.load()?;
    arguments.record.make_folder()?;
    let request = DrawRequest {
        caption: arguments.caption.clone(),
        drawing,
        seed: arguments.record.seed,
        adapter,
        trace: arguments.record.trace("draw"),
    };
    let job = engine.submit(LOCAL, Work::Draw(request))?;
    let Outcome::Picture(pixels) = follow(job, "draw")? else {
        anyhow::bail!("the engine answered something else");
    };
    fs::write(&arguments.out, imaging::encode_png(&pixels))
        .with_context(|| format!("can't write {}", arguments.out.display()))?;
    println!("{}", arguments.out.display());
    Ok(Verdict::Fine)
}
