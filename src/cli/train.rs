//! `shutterbug train`: learns from a dataset, and goes on where it was interrupted.

use std::any::Any;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::options::{LOG_INTERVAL, ModelOptions, make_folder, read_dataset};
use super::{UsageError, Verdict};
use crate::config::{Preset, Settings, Stage, Training};
use crate::data::with_causes;
use crate::torch::{Compute, libtorch_message, peak_bytes};
use crate::training::{
    MetricsLog, Outcome, Progress, StepReport, TrainError, TrainingRun, open_run,
};

/// The settings of the run, in its folder.
const SETTINGS: &str = "settings.toml";
const CHECKPOINTS: &str = "checkpoints";

/// Learn from dialogues; what was learned, checkpoints, metrics and curves go to one folder
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug train --model model --data train.jsonl --out runs/first --preset default\n\
                  then:    shutterbug generate --model model --adapter runs/first/adapter --out out dialogues.jsonl"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,

    /// Dialogues as JSON Lines; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,

    /// Folder of the run: settings.toml, checkpoints/, metrics.jsonl, tensorboard/, curves.svg, and
    /// adapter/ or model/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Go on from the newest checkpoint in the folder, with the settings of its run; without one,
    /// begin
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    settings: SettingsOptions,

    /// Folder for step-N.safetensors: what the first step saw, drew and made, gradients included
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,

    /// Threads on the CPU [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// The settings of training that the command line gives.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingsOptions {
    /// Settings to begin with; config/training.toml documents each [default: default]
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,

    /// What is learned [default: the setting training.stage]
    #[arg(long, value_name = "STAGE")]
    stage: Option<Stage>,

    /// Optimizer steps [default: the setting training.steps]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,

    /// Seed of every random draw [default: the setting training.seed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Any setting, as SECTION.KEY=VALUE; may be given several times
    #[arg(long, value_name = "SETTING")]
    set: Vec<String>,
}

impl SettingsOptions {
    /// Over the preset, or over the settings `earlier` of a run that goes on.
    pub(crate) fn load(
        &self,
        config: Option<&Path>,
        earlier: Option<&Path>,
    ) -> anyhow::Result<Training> {
        let mut overrides = self.set.clone();
        if let Some(stage) = self.stage {
            let name = clap::ValueEnum::to_possible_value(&stage).expect("no stage is hidden");
            overrides.push(format!("training.stage={}", name.get_name()));
        }
        for (key, value) in [("steps", self.steps), ("seed", self.seed)] {
            overrides.extend(value.map(|value| format!("training.{key}={value}")));
        }
        match (earlier, self.preset) {
            (None, preset) => Ok(Training::load(preset.unwrap_or_default(), config, &overrides)?),
            (Some(earlier), None) => Ok(Training::load_again(earlier, config, &overrides)?),
            (Some(earlier), Some(_)) => Err(UsageError(format!(
                "--preset begins anew, but --resume goes on with {}; leave one of them out",
                earlier.display()
            ))
            .into()),
        }
    }
}

pub(crate) fn run(
    arguments: &Arguments,
    settings: &Settings,
    config: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let checkpoints = arguments.out.join(CHECKPOINTS);
    let earlier = arguments.out.join(SETTINGS);
    if checkpoints.is_dir() && !arguments.resume {
        return Err(UsageError(format!(
            "{} holds a run already: give --resume to go on with it, or another folder for a new one",
            arguments.out.display()
        ))
        .into());
    }
    let earlier = (arguments.resume && earlier.is_file()).then_some(earlier);
    let training = arguments.settings.load(config, earlier.as_deref())?;
    if training.stage != Stage::Joint && arguments.model.names_adapter() {
        let reason = "--adapter is for the stage joint: the others train base weights".to_owned();
        return Err(UsageError(reason).into());
    }
    let compute = arguments.model.compute(settings)?;
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(i32::from(threads));
    }

    let dataset = read_dataset(&arguments.data)?;
    tracing::info!("{} dialogues; training runs on {compute}", dataset.examples.len());
    let directory = arguments.model.directory(settings);
    let adapter = arguments.model.adapter(settings);
    let adapter = adapter.as_deref();
    let mut run = open_run(directory, adapter, dataset.examples, &training, compute)?;

    make_folder(&checkpoints)?;
    if let Some(path) = run.resume(&checkpoints)? {
        tracing::info!("going on from {}", path.display());
    }
    write_settings(&arguments.out, &training.document)?;
    if let Some(folder) = &arguments.trace {
        make_folder(folder)?;
        run.trace_next_step(folder.join(format!("step-{}.safetensors", run.steps() + 1)));
    }
    let mut driver = Driver::new(run, &arguments.out, checkpoints, training, compute)?;
    driver.drive()?;
    driver.finish()?;
    Ok(Verdict::Fine)
}

/// The run's settings for a resume: the file is whole at every moment, for an empty one would stand
/// for the defaults.
fn write_settings(out: &Path, document: &str) -> anyhow::Result<()> {
    let (path, part) = (out.join(SETTINGS), out.join(format!("{SETTINGS}.part")));
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(document.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// Asks a run for micro-steps until it is over, and keeps its books.
struct Driver {
    run: Box<dyn TrainingRun>,
    metrics: MetricsLog,
    out: PathBuf,
    checkpoints: PathBuf,
    settings: Training,
    compute: Compute,
    bar: ProgressBar,
    logged: Instant,
    /// Sentences that were logged already: every epoch tells again what is left out.
    said: HashSet<String>,
    /// The step of the newest checkpoint.
    saved: u64,
    last: Option<StepReport>,
}

impl Driver {
    fn new(
        run: Box<dyn TrainingRun>,
        out: &Path,
        checkpoints: PathBuf,
        settings: Training,
        compute: Compute,
    ) -> anyhow::Result<Self> {
        let bar = ProgressBar::new(run.length().steps);
        let style = "{bar:24} {pos}/{len} {msg} [{elapsed}, {eta} left]";
        bar.set_style(ProgressStyle::with_template(style).expect("a well-formed template"));
        bar.set_position(run.steps());
        bar.reset_eta();
        Ok(Self {
            metrics: MetricsLog::open(out, run.steps(), compute.device)?,
            out: out.to_owned(),
            checkpoints,
            settings,
            compute,
            bar,
            logged: Instant::now(),
            said: HashSet::new(),
            saved: run.steps(),
            last: None,
            run,
        })
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        loop {
            let advanced = catch_unwind(AssertUnwindSafe(|| self.run.advance()));
            match advanced.map_err(|panic| self.broken_off(panic.as_ref()))? {
                Ok(Progress::Finished) => return Ok(()),
                Ok(Progress::MicroStep { done, of }) => {
                    self.bar.set_message(format!("{} ({done}/{of})", self.message()));
                }
                Ok(Progress::Step(report)) => self.after_step(report)?,
                Err(error) => {
                    self.bar.abandon();
                    // Unless they diverged, nothing is wrong with the trained tensors.
                    if !matches!(error, TrainError::NotFinite(_))
                        && let Err(unsaved) = self.save()
                    {
                        tracing::error!("{}", with_causes(&unsaved));
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// What a panic within a step tells: most often, that memory is short.
    fn broken_off(&self, panic: &(dyn Any + Send)) -> anyhow::Error {
        self.bar.abandon();
        let libtorch = libtorch_message(panic).unwrap_or("the log says where");
        let step = self.run.steps() + 1;
        let again = match self.saved {
            0 => "there is no checkpoint yet".to_owned(),
            saved => format!("--resume goes on from step {saved}"),
        };
        anyhow::anyhow!(
            "step {step} broke off: {libtorch}. If memory is short, lower \
             training.micro_batch_examples or set training.recompute=on; {again}"
        )
    }

    fn after_step(&mut self, report: StepReport) -> anyhow::Result<()> {
        if let Err(error) = self.metrics.write(&report) {
            self.warn_once(with_causes(&error));
        }
        for sentence in &report.left_out {
            self.warn_once(sentence.clone());
        }
        if report.outcome == Outcome::NotFinite {
            let step = report.step;
            self.bar.suspend(|| tracing::warn!("step {step} was not finite and changed nothing"));
        }
        let step = report.step;
        self.last = Some(report);
        self.bar.set_position(step);
        self.bar.set_message(self.message());
        if self.bar.is_hidden() && self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let (of, message) = (self.run.length().steps, self.message());
            let left = Duration::from_secs(self.bar.eta().as_secs());
            tracing::info!("step {step} of {of}: {message}, {left:?} left");
        }
        if step.is_multiple_of(self.settings.checkpoint.every_steps) {
            self.save_or_go_on()?;
        }
        Ok(())
    }

    fn warn_once(&mut self, sentence: String) {
        if !self.said.contains(&sentence) {
            self.bar.suspend(|| tracing::warn!("{sentence}"));
            self.said.insert(sentence);
        }
    }

    /// A checkpoint that can't be written is told, and training goes on: the disk may have room
    /// again for the next one.
    fn save_or_go_on(&mut self) -> anyhow::Result<()> {
        match self.save() {
            Err(error @ TrainError::Save { .. }) => {
                let sentence = with_causes(&error);
                self.bar.suspend(|| tracing::error!("{sentence}; training goes on"));
                Ok(())
            }
            saved => Ok(saved?),
        }
    }

    /// Writes a checkpoint, unless there is one of this step.
    fn save(&mut self) -> Result<(), TrainError> {
        if self.saved < self.run.steps() {
            self.run.save(&self.checkpoints)?;
            self.saved = self.run.steps();
        }
        Ok(())
    }

    fn message(&self) -> String {
        match &self.last {
            None => String::new(),
            Some(report) => {
                let pace = report.duration.as_secs_f64();
                format!(
                    "loss {:.4}, rate {:.2e}, {pace:.2} s a step",
                    report.loss, report.learning_rate
                )
            }
        }
    }

    /// The last checkpoint, what was learned, the curves; and one JSON object on stdout.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let saved = self.save();
        // What was learned is a fraction of a checkpoint's size, and may find room where that doesn't.
        let written = self.run.write_results(&self.out);
        if let (Err(unsaved), Err(_)) = (&saved, &written) {
            tracing::error!("{}", with_causes(unsaved));
        }
        written?;
        saved?;
        let curves = self.metrics.draw_curves()?;
        let last = self.last.as_ref();
        println!(
            "{}",
            json!({
                "out": self.out,
                "steps": self.run.steps(),
                "loss": last.map(|report| report.loss),
                "figures": last.map(|report| &report.figures),
                "skipped": last.map(|report| report.skipped),
                "curves": curves,
                "memory_bytes_max": peak_bytes(self.compute.device),
            })
        );
        Ok(())
    }
}
