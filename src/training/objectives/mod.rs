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
use crate::prompt::CaptionTokenizers;
use crate::stable_diffusion::Part;
use crate::tokens::CLIP_POSITIONS;

use super::TrainError;
use super::parts::Place;
use super::pictures::PhotoItem;

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

/// A sentence, where a photo's caption is longer than the text encoders.
fn caption_note(photo: &PhotoItem, tokenizers: &CaptionTokenizers) -> Option<String> {
    cut_note(&photo.name, photo.caption.as_deref()?, tokenizers)
}

/// A sentence, where the caption of the photo called `name` is longer than the text encoders.
pub(super) fn cut_note(
    name: &str,
    caption: &str,
    tokenizers: &CaptionTokenizers,
) -> Option<String> {
    let caption = caption.trim_end();
    let encoded = tokenizers.clip_l.encode(caption).ok()?;
    let read = encoded.bytes.last().map_or(0, |bytes| bytes.end);
    (read < caption.len()).then(|| {
        format!(
            "{name}: its caption is longer than the text encoders' {CLIP_POSITIONS} positions; its \
             end is left out"
        )
    })
}

pub(super) fn unusable(source: impl Error + Send + Sync + 'static) -> TrainError {
    TrainError::Objective { doing: "the model directory can't be used", source: source.into() }
}
