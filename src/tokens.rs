//! Ids in which tokenizers and models speak to each other: plain numbers, known to both sides and
//! knowing neither.

use serde::{Deserialize, Serialize};

/// Positions of CLIP's text encoders.
pub const CLIP_POSITIONS: usize = 77;

/// Positions that Stable Diffusion 3 gives T5, there or not (diffusers' `max_sequence_length`).
pub const T5_POSITIONS: usize = 256;

/// The ids of the two tokens that enclose the caption of a photo to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoTags {
    /// `[IMG]`, which opens the caption.
    pub img: u32,
    /// `[/IMG]`, which closes it.
    pub img_end: u32,
}

/// One caption in each text encoder's ids, padded as each tokenizer pads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionIds {
    /// For CLIP-L, `CLIP_POSITIONS` of them.
    pub clip_l: Vec<i64>,
    /// For CLIP-G, as many.
    pub clip_g: Vec<i64>,
    /// For T5, `T5_POSITIONS` of them; `None` stands for zeros instead of its output, and one
    /// caption without ids leaves T5 out for all that are encoded with it.
    pub t5: Option<Vec<i64>>,
}
