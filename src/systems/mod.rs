//! Every system that can hold a photo-sharing dialogue, behind one small trait.

mod abilities;
mod agreement;
mod convert;
mod draw;
mod end_to_end;
mod error;
mod footprint;
mod fresh;
mod inspection;
mod latents;
mod manifest;
mod model_directory;
mod pipeline;
mod preset;
mod trace;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::dialogue::{Dialogue, Pixels, Redacted, Reply};
pub use crate::llama_vision::Decoding;

pub use abilities::Abilities;
pub use convert::{Transfer, convert, write_manifest};
pub use end_to_end::EndToEnd;
pub use error::ModelError;
pub use footprint::{Footprint, Share};
pub use fresh::{Texts, create};
pub use inspection::{Finding, Inspection, inspect};
pub use latents::Latents;
pub use manifest::{Base, Bridge, BridgeMode, MANIFEST, Manifest, Perceptron, Sizes};
pub use model_directory::{ADAPTER, ModelDirectory};
pub use pipeline::Pipeline;
pub use preset::Preset;

/// Whether a reply may share a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotoSharing {
    /// The model decides.
    On,
    /// The model can't choose one at all.
    Off,
}

/// How photos are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Diffusion steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 turns it off.
    pub guidance: f64,
    /// Width and height in pixels; `None` is the model's own.
    pub size: Option<(u32, u32)>,
    /// Standard normal starting latents, `[photos, c, h, w]`, instead of the seed's.
    pub latents: Option<Latents>,
}

/// One reply asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyRequest {
    /// What was said so far; the last turn is B's.
    pub dialogue: Dialogue,
    /// Text that opens the dialogue as the system's, if any.
    pub system_text: Option<String>,
    /// May a photo be shared?
    pub photos: PhotoSharing,
    /// How tokens are chosen.
    pub decoding: Decoding,
    /// Added to the logit of `[IMG]` wherever it is allowed: above 0 photos become more frequent.
    pub share_bias: f64,
    /// Most tokens to write, captions included.
    pub new_tokens_max: usize,
    /// How photos are drawn.
    pub drawing: Drawing,
    /// Seed of every random draw.
    pub seed: u64,
    /// The resident adapter to use, by revision; `None` is the base alone.
    pub adapter: Option<String>,
    /// Safetensors file to write what the computation saw and made to.
    pub trace: Option<PathBuf>,
}

/// One picture asked for by its caption.
#[derive(Clone, PartialEq)]
pub struct DrawRequest {
    /// What it should show.
    pub caption: String,
    /// How.
    pub drawing: Drawing,
    /// Seed of the starting noise.
    pub seed: u64,
    /// The resident adapter to use, by revision.
    pub adapter: Option<String>,
    /// Safetensors file to write what the computation saw and made to.
    pub trace: Option<PathBuf>,
}

impl fmt::Debug for DrawRequest {
    /// Without the caption, which somebody typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrawRequest")
            .field("caption", &Redacted)
            .field("drawing", &self.drawing)
            .field("seed", &self.seed)
            .field("adapter", &self.adapter)
            .finish_non_exhaustive()
    }
}

/// What a system says while it works.
#[derive(Clone, PartialEq)]
pub enum Progress {
    /// It looks at photos.
    Perceiving {
        /// How many.
        photos: usize,
    },
    /// It wrote a token; this much more text can be shown (nothing for a caption's token or for a
    /// part of a character).
    TextDelta(String),
    /// It finished step `step` of `steps` of photo `photo` (all counted from 1, photos too).
    Drawing {
        /// Which photo of the reply.
        photo: usize,
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
    },
}

impl fmt::Debug for Progress {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Perceiving { photos } => write!(f, "Perceiving({photos})"),
            Self::TextDelta(_) => f.debug_tuple("TextDelta").field(&Redacted).finish(),
            Self::Drawing { photo, step, steps } => write!(f, "Drawing({photo}: {step}/{steps})"),
        }
    }
}

/// Told of progress; answers whether to go on. Asked between tokens and between diffusion steps.
pub type Watcher<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// The watcher said stop.
    #[error("cancelled")]
    Cancelled,
    /// The request can't be answered as it stands; the sentence is for the person who asked.
    #[error("{0}")]
    Unanswerable(String),
    /// The system failed.
    #[error("the model failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Something that answers in text and photos. Lives on the engine's thread alone.
pub trait System {
    /// Revision of the model, as records keep it.
    fn revision(&self) -> &str;

    /// Writes a reply.
    fn respond(
        &mut self,
        request: &ReplyRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Reply, RespondError>;

    /// Draws a caption.
    fn draw(
        &mut self,
        request: &DrawRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Pixels, RespondError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::{Element, Speaker};

    #[test]
    fn no_word_of_a_request_shows_in_debug_output() {
        let drawing = Drawing { steps: 1, guidance: 1.0, size: None, latents: None };
        let mut dialogue = Dialogue::default();
        dialogue.push(Speaker::B, [Element::Utterance("my secret".to_owned())]);
        let reply = ReplyRequest {
            dialogue,
            system_text: None,
            photos: PhotoSharing::On,
            decoding: Decoding::Greedy,
            share_bias: 0.0,
            new_tokens_max: 1,
            drawing: drawing.clone(),
            seed: 1,
            adapter: None,
            trace: None,
        };
        let caption = "a secret cat".to_owned();
        let draw = DrawRequest { caption, drawing, seed: 1, adapter: None, trace: None };
        let delta = Progress::TextDelta("secret".to_owned());
        let shown = format!("{reply:?} {draw:?} {delta:?}");
        assert!(shown.contains("Utterance(…)") && shown.contains("TextDelta(…)"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
