//! How long a training step takes, and how much memory, on a given configuration.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::train::SettingsOptions;
use crate::data::Dataset;
use crate::torch::{Compute, peak_bytes, reset_peak};
use crate::training::{Progress, StepReport, open_run};

/// Steps before the first that counts: the allocator and the caches are cold.
const WARMUP_STEPS: usize = 2;
/// Steps that count, unless the settings say otherwise.
const STEPS: u64 = 10;

/// Time optimizer steps of `shutterbug train`; nothing is written
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug bench train --model model --data train.jsonl --set training.recompute=on"
)]
pub(super) struct Arguments {
    /// Model directory; its adapter, if it has one, is left alone
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Dialogues as JSON Lines; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,

    #[command(flatten)]
    settings: SettingsOptions,
}

pub(super) fn run(
    arguments: &Arguments,
    config: Option<&Path>,
    compute: Compute,
) -> anyhow::Result<Value> {
    let mut settings = arguments.settings.load(config, None)?;
    let counted = settings.steps.unwrap_or(STEPS);
    settings.steps = Some(counted + WARMUP_STEPS as u64);
    let dataset = Dataset::read(&arguments.data)?;
    let mut run = open_run(&arguments.model, None, dataset.examples, &settings, compute)?;
    let loaded_bytes = peak_bytes(compute.device);
    reset_peak(compute.device);
    let mut steps: Vec<StepReport> = Vec::new();
    loop {
        match run.advance()? {
            Progress::Finished => break,
            Progress::MicroStep { .. } => {}
            Progress::Step(report) => steps.push(report),
        }
    }
    let counted = &steps[WARMUP_STEPS.min(steps.len())..];
    let mut seconds: Vec<f64> = counted.iter().map(|step| step.duration.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    Ok(json!({
        "steps": counted.len(),
        "seconds_per_step_median": seconds.get(seconds.len() / 2),
        "seconds_per_step_min": seconds.first(),
        "tokens_per_step": mean(counted, |step| step.counts.tokens),
        "photos_per_step": mean(counted, |step| step.counts.photos),
        "memory_bytes_loaded": loaded_bytes,
        "memory_bytes_max": peak_bytes(compute.device),
        "threads": tch::get_num_threads(),
        "loss": steps.last().map(|step| step.loss),
    }))
}

fn mean(steps: &[StepReport], count: impl Fn(&StepReport) -> u64) -> f64 {
    steps.iter().map(|step| count(step) as f64).sum::<f64>() / steps.len().max(1) as f64
}
