//! What the bot answers, and what it was made with.

use std::fmt;

use super::turn::Element;

/// A whole reply with its provenance: the same model, adapter, request and seed give it again.
#[derive(Clone, PartialEq)]
pub struct Reply {
    /// Text and photos in order; every photo has pixels and its caption.
    pub elements: Vec<Element>,
    /// Generated token ids, end-of-turn included.
    pub tokens: Vec<u32>,
    /// Seed of every random draw.
    pub seed: u64,
    /// Largest unbiased `P([IMG])` over the positions where a photo was allowed; `None` where it
    /// never was.
    pub share_probability: Option<f64>,
    /// Where the time went.
    pub timings: Timings,
    /// Revision of the model.
    pub model: String,
    /// Revision of the adapter, if one was used.
    pub adapter: Option<String>,
}

impl fmt::Debug for Reply {
    /// How much was written, not what: tokens are words, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("elements", &self.elements)
            .field("tokens", &self.tokens.len())
            .field("seed", &self.seed)
            .field("model", &self.model)
            .field("adapter", &self.adapter)
            .finish_non_exhaustive()
    }
}

/// Milliseconds of one reply, part by part.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// Image processor, vision encoder and projector.
    pub perceive_ms: f64,
    /// Reading the prompt.
    pub prefill_ms: f64,
    /// Writing text and captions.
    pub decode_ms: f64,
    /// Drawing photos.
    pub draw_ms: f64,
}
