//! `shutterbug evaluate judge`: someone who says what pictures of the pocket world show.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::super::Verdict;
use super::super::options::make_folder;
use super::progress;
use crate::evaluation::{Lessons, PROPERTIES, PocketJudge, RIGHT_LEAST, is_fit};

/// Teach a judge what pictures of the pocket world show, for `evaluate run`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The judge learns from true scenes, apart from every model, and is then held against others. Exit
status 3 says that it is not right often enough to judge anybody, and nothing is written.

Example: shutterbug evaluate judge --out judge.safetensors")]
pub(crate) struct Arguments {
    /// Seed of the scenes that it learns from and of its beginning
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seed: u64,

    /// Steps of 64 pictures
    #[arg(long, value_name = "N", default_value_t = 1_500, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// True scenes of another world that it is held against
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    scenes: u32,

    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let Arguments { seed, steps, scenes, out } = arguments;
    if let Some(folder) = out.parent() {
        make_folder(folder)?;
    }
    let mut bar = progress("steps");
    let lessons = Lessons { seed: *seed, steps: *steps };
    let mut loss_last = f64::NAN;
    let judge = PocketJudge::learn(lessons, &mut |done, loss| {
        loss_last = loss;
        bar(done as usize, *steps as usize);
    })?;
    let rightness = judge.rightness(seed.wrapping_add(1), *scenes as usize);
    let fit = is_fit(&rightness);
    if fit {
        judge.save(out)?;
    }
    let mut right = Map::new();
    for property in PROPERTIES {
        right.insert(property.name().to_owned(), json!(rightness.of(property).value()));
    }
    println!(
        "{}",
        json!({ "out": fit.then_some(out), "seed": seed, "steps": steps, "loss": loss_last, "scenes": scenes, "right": Value::Object(right) })
    );
    if fit {
        return Ok(Verdict::Fine);
    }
    tracing::warn!(
        "it is right on fewer than {RIGHT_LEAST} of the true scenes, and was not written: let it learn \
         for more --steps"
    );
    Ok(Verdict::Problems)
}
