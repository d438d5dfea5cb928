//! Options that several commands share.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::UsageError;
use crate::config::Settings;
use crate::data::{Dataset, with_causes};
use crate::engine::{Engine, Event, Job, Origin, Outcome, QueueLimits};
use crate::systems::{
    ADAPTER, Abilities, Drawing, EndToEnd, Latents, ModelDirectory, ModelError, Pipeline, Progress,
    System,
};
use crate::telemetry;
use crate::torch::{Compute, DeviceChoice, Precision};

/// Where the model is and what it runs on.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelOptions {
    /// Model directory [default: the setting model.directory]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// auto, cpu, cuda or cuda:N [default: the setting model.device]
    #[arg(long)]
    device: Option<String>,

    /// auto, float32 or bfloat16 [default: the setting model.precision]
    #[arg(long)]
    precision: Option<String>,

    /// Adapter directory, or `none` [default: the folder adapter of the model directory, if it is
    /// there]
    #[arg(long, value_name = "DIR|none")]
    adapter: Option<PathBuf>,
}

impl ModelOptions {
    pub(crate) fn directory<'a>(&'a self, settings: &'a Settings) -> &'a Path {
        self.model.as_deref().unwrap_or(&settings.model.directory)
    }

    pub(crate) fn compute(&self, settings: &Settings) -> anyhow::Result<Compute> {
        let device = self.device.as_deref().unwrap_or(&settings.model.device);
        let precision = self.precision.as_deref().unwrap_or(&settings.model.precision);
        Ok(Compute::choose(DeviceChoice::from_str(device)?, Precision::from_str(precision)?)?)
    }

    /// Whether an adapter was named on the command line.
    pub(crate) fn names_adapter(&self) -> bool {
        self.adapter.as_deref().is_some_and(|named| named != Path::new("none"))
    }

    /// The adapter to use: the one named, else the model directory's own.
    pub(crate) fn adapter(&self, settings: &Settings) -> Option<PathBuf> {
        match &self.adapter {
            Some(named) if named == Path::new("none") => None,
            Some(named) => Some(named.clone()),
            None => Some(self.directory(settings).join(ADAPTER)).filter(|folder| folder.is_dir()),
        }
    }

    /// Holds what is asked for against the model, which is not loaded yet.
    pub(crate) fn prepare(&self, settings: &Settings, demand: &Demand) -> anyhow::Result<Prepared> {
        let compute = self.compute(settings)?;
        let directory = ModelDirectory::open(self.directory(settings))?;
        demand.check(&Abilities::of(&directory)?)?;
        let limits = QueueLimits {
            waiting_max: settings.queue.waiting_max,
            waiting_per_person_max: settings.queue.waiting_per_person_max,
        };
        Ok(Prepared { compute, directory, adapter: self.adapter(settings), limits })
    }
}

/// A model that can be loaded.
pub(crate) struct Prepared {
    compute: Compute,
    directory: ModelDirectory,
    adapter: Option<PathBuf>,
    limits: QueueLimits,
}

impl Prepared {
    /// Loads the model and its adapter into an engine of its own; also gives the adapter's
    /// revision.
    pub(crate) fn load(self) -> anyhow::Result<(Engine, Option<String>)> {
        let Self { compute, directory, adapter, limits } = self;
        telemetry::announce(&format!("{} runs on {compute}", directory.revision()));
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let engine = Engine::start(limits, move || {
            let (system, adapter) = open(&directory, adapter, compute)?;
            // The receiver waits in the caller for as long as this closure runs.
            let _ = tell.send(adapter);
            Ok::<_, ModelError>(Box::new(system) as Box<dyn System>)
        })?;
        Ok((engine, told.recv()?))
    }

    /// Loads the model and its adapter as a system for this thread; also gives the adapter's
    /// revision.
    pub(crate) fn system(
        self,
        kind: SystemKind,
    ) -> anyhow::Result<(Box<dyn System>, Option<String>)> {
        let Self { compute, directory, adapter, .. } = self;
        telemetry::announce(&format!("{} runs on {compute}", directory.revision()));
        let (models, adapter) = open(&directory, adapter, compute)?;
        let system: Box<dyn System> = match kind {
            SystemKind::EndToEnd => Box::new(models),
            SystemKind::Pipeline => Box::new(Pipeline::new(models)),
        };
        Ok((system, adapter))
    }
}

fn open(
    directory: &ModelDirectory,
    adapter: Option<PathBuf>,
    compute: Compute,
) -> Result<(EndToEnd, Option<String>), ModelError> {
    let mut models = EndToEnd::load(directory, compute)?;
    let adapter = adapter.map(|path| models.add_adapter(&path)).transpose()?;
    Ok((models, adapter))
}

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SystemKind {
    /// One model that sees the photos of a dialogue
    EndToEnd,
    /// Two models with captions between them, and captions in the place of photos
    Pipeline,
}

impl SystemKind {
    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EndToEnd => "end-to-end",
            Self::Pipeline => "pipeline",
        }
    }
}

/// What every reply or picture is asked for, each with the option or setting that says so.
pub(crate) struct Demand {
    size: (Option<(u32, u32)>, &'static str),
    steps: (usize, &'static str),
    /// `None` where nothing is written.
    new_tokens_max: Option<(usize, &'static str)>,
}

impl Demand {
    /// What the settings ask for.
    pub(crate) fn of_settings(settings: &Settings) -> Self {
        Self {
            size: (
                settings.drawing.size,
                "the settings `drawing.width` and `drawing.height` can't be met",
            ),
            steps: (settings.drawing.steps, "the setting `drawing.steps`"),
            new_tokens_max: Some((
                settings.reply.new_tokens_max,
                "the setting `reply.new_tokens_max`",
            )),
        }
    }

    /// The same, with what the command line says instead.
    pub(crate) fn with_new_tokens_max(self, given: Option<usize>) -> Self {
        let given = given.map(|tokens| (tokens, "--max-new-tokens"));
        Self { new_tokens_max: given.or(self.new_tokens_max), ..self }
    }

    /// The same, where nothing is written.
    pub(crate) fn without_text(self) -> Self {
        Self { new_tokens_max: None, ..self }
    }

    fn check(&self, abilities: &Abilities) -> Result<(), UsageError> {
        let (size, place) = self.size;
        abilities.check_size(size).map_err(|error| UsageError(format!("{place}: {error}")))?;
        let (steps, place) = self.steps;
        if steps > abilities.steps_max {
            let most = abilities.steps_max;
            return Err(UsageError(format!(
                "{place} is {steps}, but this model's noise schedule has {most} steps: choose at \
                 most that many"
            )));
        }
        if let Some((tokens, place)) = self.new_tokens_max
            && tokens >= abilities.context_tokens
        {
            let context = abilities.context_tokens;
            return Err(UsageError(format!(
                "{place} is {tokens}, but prompt and reply together may have {context} tokens with \
                 this model: choose fewer, and leave room for the dialogue"
            )));
        }
        Ok(())
    }
}

/// How photos are drawn.
#[derive(Debug, clap::Args)]
pub(crate) struct DrawingOptions {
    /// Diffusion steps [default: the setting drawing.steps]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    steps: Option<u16>,

    /// Classifier-free guidance; 1 turns it off [default: the setting drawing.guidance]
    #[arg(long, value_name = "G")]
    guidance: Option<f64>,

    /// Picture size in pixels, such as 512x512 [default: the settings drawing.width and .height]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,

    /// Starting noise: a safetensors file with `latents [photos, c, h, w]`, standard normal
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
}

impl DrawingOptions {
    /// What the command line, or else the settings, ask for.
    pub(crate) fn demand(&self, settings: &Settings) -> Demand {
        let demand = Demand::of_settings(settings);
        Demand {
            size: self.size.map_or(demand.size, |size| (Some(size), "--size can't be met")),
            steps: self.steps.map_or(demand.steps, |steps| (usize::from(steps), "--steps")),
            ..demand
        }
    }

    pub(crate) fn drawing(&self, settings: &Settings) -> anyhow::Result<Drawing> {
        let guidance = self.guidance.unwrap_or(settings.drawing.guidance);
        if guidance.is_nan() || guidance < 1.0 {
            return Err(UsageError("--guidance must be at least 1".to_owned()).into());
        }
        Ok(Drawing {
            steps: self.steps.map_or(settings.drawing.steps, usize::from),
            guidance,
            size: self.size.or(settings.drawing.size),
            latents: self.latents.as_deref().map(Latents::read).transpose()?,
        })
    }
}

/// What makes a result come out again, and what shows how it came out.
#[derive(Debug, clap::Args)]
pub(crate) struct RecordOptions {
    /// Seed of every random draw, the same for each result
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Folder for what the computation saw and made: `<id>.safetensors`, or `draw.safetensors`
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
}

impl RecordOptions {
    /// Makes the folder for traces, if they are wanted.
    pub(crate) fn make_folder(&self) -> anyhow::Result<()> {
        self.trace.as_deref().map_or(Ok(()), make_folder)
    }

    /// The file for the trace of the result `id`, if it is wanted.
    pub(crate) fn trace(&self, id: &str) -> Option<PathBuf> {
        self.trace.as_ref().map(|folder| folder.join(format!("{id}.safetensors")))
    }
}

/// Makes a folder for results, if it is not there.
pub(crate) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .filter(|&(width, height)| width > 0 && height > 0)
        .ok_or_else(|| "give WIDTHxHEIGHT in pixels, such as 512x512".to_owned())
}

/// Between two log lines of long work, where stderr is no terminal.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(15);

/// The dialogues of all files; lines that can't be used are told and left out.
pub(crate) fn read_dataset(files: &[impl AsRef<Path>]) -> anyhow::Result<Dataset> {
    let dataset = Dataset::read(files)?;
    for fault in &dataset.faults {
        tracing::warn!("{}; it is left out", with_causes(fault));
    }
    Ok(dataset)
}

/// Requests of the command line come from nobody in particular.
pub(crate) const LOCAL: Origin = Origin { guild: None, channel: 0, person: 0 };

/// Waits for a job under a progress bar (log lines where stderr is no terminal).
pub(crate) fn follow(job: Job, label: &str) -> anyhow::Result<Outcome> {
    let bar = ProgressBar::new_spinner();
    let style = "{spinner} {prefix}: {msg} [{elapsed}]";
    bar.set_style(ProgressStyle::with_template(style).expect("a well-formed template"));
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let quiet = bar.is_hidden();
    let mut words = 0;
    let last = job.wait(|event| {
        let Event::Progress(progress) = event else { return };
        let message = match progress {
            Progress::Perceiving { photos } => format!("looking at {photos} photos"),
            Progress::TextDelta(_) => {
                words += 1;
                format!("writing, {words} pieces")
            }
            Progress::Drawing { photo, step, steps } => {
                if quiet && (step == 1 || step == steps) {
                    tracing::info!("{label}: drawing photo {photo}, step {step} of {steps}");
                }
                format!("drawing photo {photo}, step {step} of {steps}")
            }
        };
        bar.set_message(message);
    });
    bar.finish_and_clear();
    match last {
        Event::Done(outcome) => Ok(*outcome),
        Event::Refused(sentence) => anyhow::bail!(sentence),
        Event::Failed => anyhow::bail!("the model failed; the log says why"),
        Event::Cancelled | Event::Accepted { .. } | Event::Progress(_) => {
            anyhow::bail!("the work was cancelled")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_positive_numbers() {
        assert_eq!(parse_size("512x384"), Ok((512, 384)));
        for wrong in ["512", "512x", "x", "0x5", "5x0", "-1x5", "a x b"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
