//! The trainer: micro-steps into optimizer steps, optimizer steps into a run.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tch::Tensor;

use super::checkpoint::{self, Manifest};
use super::error::{Diagnosis, TrainError};
use super::optimizer::Optimizer;
use super::order::Order;
use super::schedule::{self, Length};
use super::{Batch, Counts, Draws, Measures, Objective, Recorder, StepContext};
use crate::config::{Accumulation, Training};
use crate::torch::{SaveKind, gradient_norm, gradients, scale_in_place, write_safetensors};

/// Added to a norm before it divides, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// What one call of `Trainer::advance` came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A micro-step of the open step is done.
    MicroStep {
        /// Of this step.
        done: usize,
        /// Of this step.
        of: usize,
    },
    /// A step is done.
    Step(StepReport),
    /// The run was over before.
    Finished,
}

/// What a step made of the trained tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They changed.
    Updated,
    /// Loss or gradients were not finite: nothing changed.
    NotFinite,
    /// None of its examples could be used: nothing changed.
    NothingUsable,
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Counted from 1.
    pub step: u64,
    /// Passes over the data after it.
    pub epoch: f64,
    /// What became of it.
    pub outcome: Outcome,
    /// The batch's loss.
    pub loss: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The step's τ.
    pub temperature: f64,
    /// Steps skipped so far because they were not finite.
    pub skipped: u64,
    /// The objective's figures.
    pub figures: BTreeMap<String, f64>,
    /// Tokens and photos that were scored.
    pub counts: Counts,
    /// Why examples were left out.
    pub left_out: Vec<String>,
    /// Time in the trainer.
    pub duration: Duration,
}

/// A step whose micro-steps are being made.
struct OpenStep<M> {
    context: StepContext,
    batch: Batch<M>,
    counts: Counts,
    done: usize,
    /// Sums over the micro-batches done, in the optimizer's order; `None` of what no loss depends on.
    gradients: Vec<Option<Tensor>>,
    loss: f64,
    measures: Measures,
    duration: Duration,
}

impl<M> OpenStep<M> {
    /// The gradients that there are.
    fn present(&self) -> Vec<&Tensor> {
        self.gradients.iter().flatten().collect()
    }
}

/// A run of training, whatever its objective: what those who drive it need.
pub trait TrainingRun {
    /// How long the run is.
    fn length(&self) -> Length;

    /// Optimizer steps done, skipped ones included.
    fn steps(&self) -> u64;

    /// One micro-step: reads the next examples where no step is open, computes one micro-batch's
    /// loss and gradients, and with the last of them updates the trained tensors.
    ///
    /// # Errors
    /// If the objective fails, if nothing of a whole epoch could be used, or if more steps in a row
    /// than the settings allow were not finite. The trained tensors are as they were before then.
    fn advance(&mut self) -> Result<Progress, TrainError>;

    /// Writes what the next step sees, draws and makes to `file`, in safetensors: what the objective
    /// records, `loss`, `figure.NAME`, and every gradient before clipping as `gradient.NAME`.
    fn trace_next_step(&mut self, file: PathBuf);

    /// Writes a checkpoint of the state between two steps into `folder`, and removes all but the
    /// newest that the settings keep. Gives its folder.
    ///
    /// # Errors
    /// If it can't be written; earlier checkpoints stay whole.
    ///
    /// # Panics
    /// In the middle of a step.
    fn save(&self, folder: &Path) -> Result<PathBuf, TrainError>;

    /// Goes on from the newest checkpoint in `folder`; gives its folder, or `None` where there is
    /// none.
    ///
    /// # Errors
    /// If it can't be read, or stands on other bases or trained tensors.
    fn resume(&mut self, folder: &Path) -> Result<Option<PathBuf>, TrainError>;

    /// Writes what was learned to the folder `out`, which is made.
    ///
    /// # Errors
    /// If it can't be written.
    fn write_results(&self, out: &Path) -> Result<(), TrainError>;
}

/// A run: an objective and how far it was followed.
pub struct Trainer<O: Objective> {
    objective: O,
    settings: Training,
    length: Length,
    optimizer: Optimizer,
    order: Order,
    /// Optimizer steps done, skipped ones included.
    steps: u64,
    skipped: u64,
    skipped_in_a_row: u64,
    /// Examples in a row of which none could be used.
    unusable_in_a_row: u64,
    open: Option<OpenStep<O::MicroBatch>>,
    trace: Option<PathBuf>,
}

impl<O: Objective> Trainer<O> {
    /// Before the first step.
    ///
    /// # Errors
    /// If there are no examples, or nothing is trained.
    pub fn new(objective: O, settings: Training) -> Result<Self, TrainError> {
        let examples = objective.examples();
        if examples == 0 {
            return Err(TrainError::Empty);
        }
        if objective.parameters().is_empty() {
            let reason = "the settings freeze everything that this stage could train";
            return Err(TrainError::NothingTrained(reason.to_owned()));
        }
        Ok(Self {
            length: Length::new(examples, settings.batch_examples, settings.epochs, settings.steps),
            optimizer: Optimizer::new(&settings.optimizer, objective.parameters()),
            order: Order::new(settings.seed, examples),
            steps: 0,
            skipped: 0,
            skipped_in_a_row: 0,
            unusable_in_a_row: 0,
            open: None,
            trace: None,
            objective,
            settings,
        })
    }

    /// The objective.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    fn open_step(&mut self) -> Result<OpenStep<O::MicroBatch>, TrainError> {
        let Self { settings, length, steps, .. } = self;
        let epoch = length.epoch(*steps);
        let context = StepContext {
            step: *steps,
            epoch,
            temperature: schedule::temperature(&settings.bridge, epoch),
            own_caption_share: schedule::own_caption_share(&settings.bridge, epoch),
            draws: Draws::new(settings.seed, *steps),
            recorder: if self.trace.is_some() { Recorder::keeping() } else { Recorder::default() },
        };
        let first = *steps * settings.batch_examples as u64;
        let places = self.order.places(first, settings.batch_examples);
        let batch = self.objective.prepare(&places, &context).map_err(|source| {
            TrainError::Objective { doing: "the examples can't be prepared", source }
        })?;
        Ok(OpenStep {
            counts: batch.counts.iter().copied().sum(),
            gradients: Vec::new(),
            loss: 0.0,
            measures: Measures::default(),
            done: 0,
            duration: Duration::ZERO,
            context,
            batch,
        })
    }

    fn micro_step(&mut self, open: &mut OpenStep<O::MicroBatch>) -> Result<(), TrainError> {
        let micro_batch = &open.batch.micro_batches[open.done];
        let counts = match self.settings.accumulation {
            Accumulation::Mean => open.counts,
            Accumulation::Sum => open.batch.counts[open.done],
        };
        let result = self.objective.forward(micro_batch, &open.context, counts);
        let failed = |source| TrainError::Objective { doing: "the loss can't be computed", source };
        let micro = result.map_err(failed)?;

        let mut of = self.optimizer.tensors();
        let trained = of.len();
        of.extend(micro.probes.iter().map(|(_, probe)| probe));
        let mut gradients = gradients(&micro.loss, &of);
        for ((name, _), gradient) in micro.probes.iter().zip(gradients.drain(trained..)) {
            open.measures.sample(name, gradient_norm(gradient.as_slice()));
        }
        open.gradients.resize_with(trained, || None);
        for (sum, gradient) in open.gradients.iter_mut().zip(gradients) {
            match (sum.as_mut(), gradient) {
                (Some(sum), Some(gradient)) => drop(sum.g_add_(&gradient)),
                (None, gradient) => *sum = gradient,
                (Some(_), None) => {}
            }
        }
        open.loss += micro.loss.double_value(&[]);
        open.measures.merge(micro.measures);
        open.done += 1;
        Ok(())
    }

    fn close_step(&mut self, open: OpenStep<O::MicroBatch>) -> Result<StepReport, TrainError> {
        let begun = Instant::now();
        let norm = gradient_norm(&open.present());
        let learning_rate =
            schedule::learning_rate(&self.settings.optimizer, self.length, self.steps);
        self.write_trace(&open)?;
        self.steps += 1;
        let outcome = if open.batch.micro_batches.is_empty() {
            self.nothing_usable(&open.batch)?
        } else if open.loss.is_finite() && norm.is_finite() {
            if let Some(norm_max) = self.settings.optimizer.gradient_norm_max
                && norm > norm_max
            {
                scale_in_place(&open.present(), norm_max / (norm + CLIP_EPSILON));
            }
            self.optimizer.step(&open.gradients, learning_rate);
            (self.skipped_in_a_row, self.unusable_in_a_row) = (0, 0);
            Outcome::Updated
        } else {
            self.not_finite(&open)?
        };
        Ok(StepReport {
            step: self.steps,
            epoch: self.length.epoch(self.steps),
            outcome,
            loss: open.loss,
            gradient_norm: norm,
            learning_rate,
            temperature: open.context.temperature,
            skipped: self.skipped,
            figures: open.measures.figures(),
            counts: open.counts,
            left_out: open.batch.left_out,
            duration: open.duration + begun.elapsed(),
        })
    }

    fn nothing_usable(&mut self, batch: &Batch<O::MicroBatch>) -> Result<Outcome, TrainError> {
        self.unusable_in_a_row += self.settings.batch_examples as u64;
        if self.unusable_in_a_row >= self.objective.examples() as u64 {
            let reason = batch.left_out.last().cloned();
            let reason = reason.unwrap_or_else(|| "nothing in it is scored".to_owned());
            return Err(TrainError::Unusable { examples: self.unusable_in_a_row, reason });
        }
        Ok(Outcome::NothingUsable)
    }

    fn not_finite(&mut self, open: &OpenStep<O::MicroBatch>) -> Result<Outcome, TrainError> {
        self.skipped += 1;
        self.skipped_in_a_row += 1;
        if self.skipped_in_a_row > self.settings.optimizer.skipped_steps_max {
            let broken =
                |gradient: &Option<Tensor>| !gradient_norm(gradient.as_slice()).is_finite();
            let named = self.optimizer.names().zip(&open.gradients);
            let tensors = named
                .filter(|(_, gradient)| broken(gradient))
                .map(|(name, _)| name.to_owned())
                .collect();
            return Err(TrainError::NotFinite(Diagnosis {
                steps: self.skipped_in_a_row,
                step: self.steps,
                loss: open.loss,
                tensors,
                tensors_in_all: open.gradients.len(),
            }));
        }
        Ok(Outcome::NotFinite)
    }

    /// Writes the trace of a step, if one was asked for.
    fn write_trace(&mut self, open: &OpenStep<O::MicroBatch>) -> Result<(), TrainError> {
        let Some(file) = self.trace.take() else { return Ok(()) };
        let recorder = &open.context.recorder;
        recorder.keep("loss", || Tensor::from(open.loss));
        for (name, figure) in open.measures.figures() {
            recorder.keep(&format!("figure.{name}"), || Tensor::from(figure));
        }
        for (name, gradient) in self.optimizer.names().zip(&open.gradients) {
            let Some(gradient) = gradient else { continue };
            recorder.keep(&format!("gradient.{name}"), || gradient.shallow_clone());
        }
        let kept = recorder.take();
        let tensors = kept.iter().map(|(name, tensor)| (name.as_str(), tensor));
        Ok(write_safetensors(&file, tensors, SaveKind::Own, &[])?)
    }
}

impl<O: Objective> TrainingRun for Trainer<O> {
    fn length(&self) -> Length {
        self.length
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn trace_next_step(&mut self, file: PathBuf) {
        self.trace = Some(file);
    }

    fn advance(&mut self) -> Result<Progress, TrainError> {
        if self.steps >= self.length.steps {
            return Ok(Progress::Finished);
        }
        let begun = Instant::now();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_step()?,
        };
        if open.done < open.batch.micro_batches.len() {
            self.micro_step(&mut open)?;
        }
        open.duration += begun.elapsed();
        let (done, of) = (open.done, open.batch.micro_batches.len());
        if done < of {
            self.open = Some(open);
            return Ok(Progress::MicroStep { done, of });
        }
        self.close_step(open).map(Progress::Step)
    }

    fn save(&self, folder: &Path) -> Result<PathBuf, TrainError> {
        assert!(self.open.is_none(), "a checkpoint is written between steps");
        let manifest = Manifest {
            step: self.steps,
            examples: self.steps * self.settings.batch_examples as u64,
            seed: self.settings.seed,
            updates: self.optimizer.updates(),
            skipped: self.skipped,
            skipped_in_a_row: self.skipped_in_a_row,
            unusable_in_a_row: self.unusable_in_a_row,
            threads: tch::get_num_threads(),
            dataset_examples: Some(self.objective.examples() as u64),
            bases: self.objective.bases().into_iter().collect(),
            settings: self.settings.document.clone(),
        };
        let path = checkpoint::write(folder, &manifest, &self.optimizer.state())?;
        if let Err(error) = checkpoint::prune(folder, self.settings.checkpoint.kept) {
            tracing::warn!(error = &error as &dyn Error, "an old checkpoint can't be removed");
        }
        Ok(path)
    }

    fn resume(&mut self, folder: &Path) -> Result<Option<PathBuf>, TrainError> {
        let Some((path, manifest)) = checkpoint::newest(folder)? else { return Ok(None) };
        manifest.check_bases(&path, self.objective.bases())?;
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| TrainError::Resume {
            path: path.clone(),
            source,
        };
        let asked = (self.settings.seed, self.settings.batch_examples as u64);
        if (manifest.seed, manifest.examples) != (asked.0, manifest.step * asked.1) {
            let reason = "it has another training.seed or training.batch_examples, so that its \
                          place in the data means something else";
            return Err(broken(reason.into()));
        }
        let examples = self.objective.examples() as u64;
        if let Some(other) = manifest.dataset_examples.filter(|&other| other != examples) {
            let reason = format!(
                "it learned from {other} examples, and this dataset has {examples}: the order of \
                 the data would be another one"
            );
            return Err(broken(reason.into()));
        }
        let state = checkpoint::state(&path).map_err(|error| broken(error.into()))?;
        self.optimizer.restore(state, manifest.updates).map_err(|error| broken(error.into()))?;
        self.steps = manifest.step;
        self.skipped = manifest.skipped;
        self.skipped_in_a_row = manifest.skipped_in_a_row;
        self.unusable_in_a_row = manifest.unusable_in_a_row;
        if manifest.threads != tch::get_num_threads() {
            tracing::warn!(
                "the run had {} threads and goes on with {}: its last bits will differ from those \
                 of an uninterrupted run",
                manifest.threads,
                tch::get_num_threads()
            );
        }
        Ok(Some(path))
    }

    fn write_results(&self, out: &Path) -> Result<(), TrainError> {
        std::fs::create_dir_all(out)
            .map_err(|source| TrainError::Io { path: out.to_owned(), source })?;
        self.objective.write(&self.optimizer.results(), out).map_err(|source| {
            TrainError::Objective { doing: "what was learned can't be written", source }
        })
    }
}
