//! The bridge: from the language model's logits over a caption to the token embeddings of the
//! image generator's text encoders, differentiable all the way (Guo et al., ICME 2025, section
//! III-C).
//!
//! 1. [`gumbel_softmax`] draws a token at each of the caption's positions: one-hot forward, a
//!    softmax backward (eq. 2).
//! 2. [`DrivingCaption`] is the caption in both vocabularies: the reference's, or the one that the
//!    draw itself wrote. [`CaptionMap`] says which of its tokens correspond (eq. 3 and 4).
//! 3. [`Projection`] makes an encoder's input embeddings of both: those of the caption as the
//!    encoder's own tokenizer writes it, with a gradient to the draw (eq. 5).
//!
//! [`Bridge`] is the three of them for both CLIP encoders. It knows neither model: it takes logits
//! and tables, and it gives embeddings.

mod driving;
mod gumbel;
mod projection;
mod vocabulary;

use tch::Tensor;

use crate::prompt::{CaptionTokenizers, LlamaTokenizer, PromptError};

pub use driving::DrivingCaption;
pub use gumbel::{Choices, Temperature, gumbel_noise, gumbel_softmax};
pub use projection::Projection;
pub use vocabulary::{CaptionMap, StaticMatch, static_matches, words};

/// How tokens of the language model correspond to tokens of the text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The same string, in whole vocabularies (eq. 3).
    Static(StaticMatch),
    /// Every token of the caption to every token of the caption (eq. 4, the paper's DVTM). All
    /// positions of one caption share a single number.
    Sentence,
    /// Every token of a word to every token of the same word, at the word's own positions.
    Word,
    /// Every token of the vocabulary to the tokens of its own text, at the positions that overlap:
    /// the only mode whose gradient reaches tokens outside the caption.
    Position,
}

/// How a caption's draws become one row (eq. 5's avg).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, the paper's.
    Mean,
    /// Their sum, the published code's.
    Sum,
}

/// Token embeddings `[77, d]` of one caption for each CLIP encoder, in the tables' dtype.
pub struct CaptionEmbeddings {
    /// For CLIP-L.
    pub clip_l: Tensor,
    /// For CLIP-G.
    pub clip_g: Tensor,
}

/// The bridge into both CLIP encoders.
pub struct Bridge {
    clip_l: Projection,
    clip_g: Projection,
}

impl Bridge {
    /// A bridge over the encoders' token tables `[rows, d]` (CLIP-L's, CLIP-G's), which are taken
    /// as constants.
    ///
    /// # Errors
    /// If a tokenizer fails on a token's own text.
    pub fn new(
        mode: Mode,
        pooling: Pooling,
        llama: &LlamaTokenizer,
        encoders: &CaptionTokenizers,
        tables: [&Tensor; 2],
    ) -> Result<Self, PromptError> {
        let [clip_l, clip_g] = tables;
        Ok(Self {
            clip_l: Projection::new(mode, pooling, llama, &encoders.clip_l, clip_l)?,
            clip_g: Projection::new(mode, pooling, llama, &encoders.clip_g, clip_g)?,
        })
    }

    /// The embeddings of `caption`, whose gradient goes to `choices_mv` (see [`Choices`]).
    pub fn embed(&self, choices_mv: &Tensor, caption: &DrivingCaption) -> CaptionEmbeddings {
        let side = |projection: &Projection, encoded| {
            projection.embed(choices_mv, &CaptionMap::new(caption, encoded))
        };
        CaptionEmbeddings {
            clip_l: side(&self.clip_l, &caption.clip_l),
            clip_g: side(&self.clip_g, &caption.clip_g),
        }
    }
}
