//! Training: objectives say what is learned, the trainer how.
//!
//! An [`Objective`] knows a model and a dataset and nothing of optimizers; the [`Trainer`] knows
//! neither. It advances by micro-steps, so that whoever owns the tensors can do something else in
//! between: an engine's thread asks for one between two replies, the command line asks in a loop.
//!
//! A step of the optimizer is made of as many micro-steps as its examples need. Every loss is a
//! mean over the *whole* accumulated batch: an objective divides its sums by the batch's
//! [`Counts`], not by the micro-batch's. Every random draw follows from the run's seed and the
//! step ([`Draws`]), so that a run that was killed and resumed goes on bit by bit as if nothing
//! had happened (on the CPU, with as many threads: some of CUDA's kernels add in any order).

mod checkpoint;
mod draws;
mod error;
mod joint;
mod measures;
mod metrics;
pub mod objectives;
mod open;
mod optimizer;
mod order;
mod parts;
mod pictures;
pub mod reading;
pub mod rectified_flow;
pub mod schedule;
mod trainer;

use std::cell::RefCell;
use std::error::Error;
use std::iter::Sum;
use std::ops::Add;
use std::path::Path;

use tch::{Kind, Tensor};

pub use crate::torch::Parameters;
pub use draws::{Draws, Purpose};
pub use error::{Diagnosis, TrainError};
pub use joint::{Driver, JointMicroBatch, JointObjective, MicroDraws, PhotoDraws};
pub use measures::{Measure, Measures};
pub use metrics::MetricsLog;
pub use open::open_run;
pub use trainer::{Outcome, Progress, StepReport, Trainer, TrainingRun};

/// What is learned: a model, its data and its loss.
///
/// ```text
/// batch = objective.prepare(places, step)      // reads examples, cuts them into micro-batches
/// for micro in batch.micro_batches:
///     objective.forward(micro, step, batch.counts).loss.backward()
/// ```
pub trait Objective {
    /// What one micro-step works on.
    type MicroBatch;

    /// The trained tensors by the names that traces, diagnoses and checkpoints give them: float32
    /// leaves that require grad. Always the same tensors.
    fn parameters(&self) -> &Parameters;

    /// What the trained tensors stand on: the frozen bases by name and fingerprint. A checkpoint
    /// goes on only on the same ones.
    fn bases(&self) -> Vec<(String, String)>;

    /// Number of examples that one pass over the data takes.
    fn examples(&self) -> usize;

    /// Reads the examples `places` (indices below `examples`) of one step and cuts them into
    /// micro-batches. What can't be read is left out and told in `Batch::left_out`; no
    /// micro-batch at all is no error.
    ///
    /// # Errors
    /// If no other step could go better.
    fn prepare(
        &mut self,
        places: &[usize],
        step: &StepContext,
    ) -> Result<Batch<Self::MicroBatch>, ObjectiveError>;

    /// The loss of one micro-batch, with a graph to every trained tensor that takes part. `counts`
    /// are those of the whole batch: losses of its micro-batches add up to the batch's.
    ///
    /// # Errors
    /// If the model can't run on it.
    fn forward(
        &mut self,
        micro_batch: &Self::MicroBatch,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError>;

    /// Writes what was learned to the existing folder `out`, in the formats that the other
    /// commands and Python read. `parameters` are the tensors to write, by the names of
    /// `Objective::parameters`: the trained ones, or their running means.
    ///
    /// # Errors
    /// If it can't be written.
    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError>;
}

/// An objective's reason, for people.
pub type ObjectiveError = Box<dyn Error + Send + Sync>;

/// The examples of one optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<M> {
    /// In the order in which they are worked on.
    pub micro_batches: Vec<M>,
    /// What each micro-batch holds, in the same order.
    pub counts: Vec<Counts>,
    /// Why examples, or parts of them, were left out, one sentence each.
    pub left_out: Vec<String>,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self { micro_batches: Vec::new(), counts: Vec::new(), left_out: Vec::new() }
    }
}

impl<M> Batch<M> {
    /// Adds a micro-batch.
    pub fn push(&mut self, micro_batch: M, counts: Counts) {
        self.micro_batches.push(micro_batch);
        self.counts.push(counts);
    }
}

/// How many there are of what losses are means over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scored tokens.
    pub tokens: u64,
    /// Photos that a picture's loss is taken of.
    pub photos: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, photos: self.photos + other.photos }
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Self::add)
    }
}

/// What a forward pass is told of the step that it is part of.
#[derive(Debug)]
pub struct StepContext {
    /// Optimizer steps before this one.
    pub step: u64,
    /// Passes over the data before this step, a fraction.
    pub epoch: f64,
    /// The Gumbel-softmax's τ, which falls geometrically, step by step.
    pub temperature: f64,
    /// Share of the photos whose picture is driven by the model's own caption instead of the gold
    /// one, 0…1.
    pub own_caption_share: f64,
    /// Where random numbers come from.
    pub draws: Draws,
    /// Takes what a trace shows.
    pub recorder: Recorder,
}

/// The loss of one micro-batch.
#[derive(Debug)]
pub struct MicroLoss {
    /// A float32 scalar, divided by the whole batch's counts already.
    pub loss: Tensor,
    /// Plain figures for the log.
    pub measures: Measures,
    /// Float32 leaves whose gradient's Euclidean norm becomes a sample of the measure of that
    /// name. A leaf of zeros that is added to a tensor takes that tensor's gradient.
    pub probes: Vec<(&'static str, Tensor)>,
}

/// Collects named tensors for a trace; without one it collects nothing.
#[derive(Debug, Default)]
pub struct Recorder(Option<RefCell<Vec<(String, Tensor)>>>);

impl Recorder {
    /// One that keeps what it is given.
    pub fn keeping() -> Self {
        Self(Some(RefCell::default()))
    }

    /// Keeps `make()` under `name`, on the CPU and detached; floating-point values as float32. A
    /// name given again counts up: `noise`, `noise.1`, `noise.2`.
    pub fn keep(&self, name: &str, make: impl FnOnce() -> Tensor) {
        let Some(kept) = &self.0 else { return };
        let tensor = make().detach().to_device(tch::Device::Cpu);
        let tensor = if tensor.is_floating_point() { tensor.to_kind(Kind::Float) } else { tensor };
        let mut kept = kept.borrow_mut();
        let again =
            |had: &str| had == name || had.strip_prefix(name).is_some_and(is_number_behind_dot);
        let name = match kept.iter().filter(|(had, _)| again(had)).count() {
            0 => name.to_owned(),
            times => format!("{name}.{times}"),
        };
        // A copy: the trained tensors change before the trace is written.
        kept.push((name, tensor.contiguous().copy()));
    }

    /// What was kept, in order; nothing is left.
    pub fn take(&self) -> Vec<(String, Tensor)> {
        self.0.as_ref().map(RefCell::take).unwrap_or_default()
    }
}

fn is_number_behind_dot(text: &str) -> bool {
    text.strip_prefix('.').is_some_and(|number| number.parse::<u64>().is_ok())
}
