//! From settings to a run.

use std::path::Path;

use super::error::TrainError;
use super::joint::JointObjective;
use super::objectives::{DiffusionObjective, EncodersObjective, TextObjective, VaeObjective};
use super::trainer::{Trainer, TrainingRun};
use crate::config::{Stage, Training};
use crate::data::Example;
use crate::torch::Compute;

/// The run that the settings describe, before its first step, on the model directory `model`; the
/// stage "joint" goes on from `adapter`, the others know none.
///
/// # Errors
/// If a part of the model can't be read, or there is nothing to learn or to learn from.
pub fn open_run(
    model: &Path,
    adapter: Option<&Path>,
    examples: Vec<Example>,
    settings: &Training,
    compute: Compute,
) -> Result<Box<dyn TrainingRun>, TrainError> {
    Ok(match settings.stage {
        Stage::Vae => {
            let objective = VaeObjective::load(model, &examples, settings, compute)?;
            Box::new(Trainer::new(objective, settings.clone())?)
        }
        Stage::Encoders => {
            let objective = EncodersObjective::load(model, &examples, settings, compute)?;
            Box::new(Trainer::new(objective, settings.clone())?)
        }
        Stage::Text => {
            let objective = TextObjective::load(model, examples, settings, compute)?;
            Box::new(Trainer::new(objective, settings.clone())?)
        }
        Stage::Diffusion => {
            let objective = DiffusionObjective::load(model, &examples, settings, compute)?;
            Box::new(Trainer::new(objective, settings.clone())?)
        }
        Stage::Joint => {
            let objective = JointObjective::load(model, adapter, examples, settings, compute)?;
            Box::new(Trainer::new(objective, settings.clone())?)
        }
    })
}
