//! `shutterbug evaluate losses`: how well held-out dialogues and their photos are foretold.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::Verdict;
use super::super::options::{ModelOptions, read_dataset};
use super::progress;
use crate::config::{Preset, Settings, Training};
use crate::evaluation::Mean;
use crate::training::{Draws, JointObjective, Measure, Measures, Objective, Recorder, StepContext};

/// What is measured, as training calls it.
const LOSSES: [&str; 3] = ["text_loss", "caption_loss", "picture_loss"];

/// Nothing is drawn at random but noise, and nothing is left out or mirrored.
const OVERRIDES: [&str; 9] = [
    "training.stage=joint",
    "training.language=adapters",
    "training.diffusion=adapters",
    "training.begin=model",
    "training.micro_batch_examples=1",
    "lora.dropout=0.0",
    // The losses are the same over every bridge.
    "bridge.mode=none",
    "diffusion.caption_dropout=0.0",
    "diffusion.mirrored=off",
];

/// Mean losses on held-out dialogues: of text, of captions, and of pictures given true captions
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Text and caption losses are nats a token. The same seed gives every model the same noise.

Example: shutterbug evaluate losses --model model --adapter runs/first/adapter --data pocket/test.jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,

    /// Held-out dialogues as JSON Lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Only the first N dialogues
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Seed of noise levels and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(
    arguments: &Arguments,
    settings: &Settings,
    config: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let training = Training::load(Preset::default(), config, &OVERRIDES.map(str::to_owned))?;
    let compute = arguments.model.compute(settings)?;
    let mut examples = read_dataset(&[&arguments.data])?.examples;
    examples.truncate(arguments.limit.map_or(examples.len(), |limit| limit as usize));
    let model = arguments.model.directory(settings);
    let adapter = arguments.model.adapter(settings);
    let mut objective =
        JointObjective::load(model, adapter.as_deref(), examples, &training, compute)?;
    let dialogues = measure(&mut objective, arguments.seed)?;
    let mut losses = Map::new();
    for (number, name) in LOSSES.into_iter().enumerate() {
        let means: Vec<Mean> = dialogues.iter().map(|means| means[number]).collect();
        let found = Mean::over(&means, 0).map(|(estimate, of)| estimate.json("of", of));
        losses.insert(name.to_owned(), found.unwrap_or(Value::Null));
    }
    println!(
        "{}",
        json!({ "dialogues": dialogues.len(), "seed": arguments.seed, "losses": losses })
    );
    Ok(Verdict::Fine)
}

/// The losses of every dialogue that can be read, without gradients.
fn measure(objective: &mut JointObjective, seed: u64) -> anyhow::Result<Vec<[Mean; 3]>> {
    let _no_grad = tch::no_grad_guard();
    let mut dialogues = Vec::new();
    let mut progress = progress("dialogues");
    for index in 0..objective.examples() {
        progress(index, objective.examples());
        let step = StepContext {
            step: 0,
            epoch: 0.0,
            temperature: 1.0,
            own_caption_share: 0.0,
            // As the dialogue's place, so that a limit changes no draw.
            draws: Draws::new(seed, index as u64),
            recorder: Recorder::default(),
        };
        let batch = objective.prepare(&[index], &step).map_err(anyhow::Error::from_boxed)?;
        for sentence in &batch.left_out {
            tracing::warn!("{sentence}");
        }
        let mut measures = Measures::default();
        for (micro_batch, counts) in batch.micro_batches.iter().zip(&batch.counts) {
            let loss = objective
                .forward(micro_batch, &step, *counts)
                .map_err(anyhow::Error::from_boxed)?;
            measures.merge(loss.measures);
        }
        dialogues.push(LOSSES.map(|name| match measures.get(name) {
            Some(Measure::Mean { sum, weight }) => Mean { sum: *sum, of: *weight },
            Some(Measure::Samples(_)) | None => Mean::default(),
        }));
    }
    progress(objective.examples(), objective.examples());
    Ok(dialogues)
}
