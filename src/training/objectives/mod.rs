//! What can be learned, an objective a file: the stages of pretraining. The joint objective stands
//! beside the trait.

mod diffusion;
mod encoders;
mod text;
mod vae;

pub use diffusion::DiffusionObjective;
pub use encoders::EncodersObjective;
pub use text::TextObjective;
pub use vae::VaeObjective;
pub(super) use vae::own_side;

use std::error::Error;

use crate::config::{Switch, Training};
use crate::nn::Activations;
use crate::stable_diffusion::Part;

use super::TrainError;
use super::parts::Place;

/// Folder and file stem of a part of the image generator.
pub(super) fn place(part: Part) -> Place {
    let folder = match part {
        Part::ClipL => "diffusion/text_encoder",
        Part::ClipG => "diffusion/text_encoder_2",
        Part::T5 => "diffusion/text_encoder_3",
        Part::Transformer => "diffusion/transformer",
        Part::Vae => "diffusion/vae",
    };
    Place { folder, stem: part.stem() }
}

/// What passes keep for the backward pass.
pub(super) fn activations(settings: &Training) -> Activations {
    match settings.recompute {
        Switch::On => Activations::Recompute,
        Switch::Off => Activations::Keep,
    }
}

pub(super) fn unusable(source: impl Error + Send + Sync + 'static) -> TrainError {
    TrainError::Objective { doing: "the model directory can't be used", source: source.into() }
}
