//! `shutterbug draw`: the drawing half alone.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::Verdict;
use super::options::{DrawingOptions, LOCAL, ModelOptions, follow};
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

    /// Adapter directory
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// Seed of the starting noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Folder for `draw.safetensors`: what the computation saw and made
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,

    /// PNG file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// What to draw
    caption: String,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let drawing = arguments.drawing.drawing(settings)?;
    let (engine, adapter) = arguments.model.engine(settings, arguments.adapter.as_deref())?;
    if let Some(folder) = &arguments.trace {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    let request = DrawRequest {
        caption: arguments.caption.clone(),
        drawing,
        seed: arguments.seed,
        adapter,
        trace: arguments.trace.as_ref().map(|folder| folder.join("draw.safetensors")),
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
