//! The caption that drives the image generator, in every vocabulary.

use std::ops::Range;

use crate::prompt::{CaptionTokenizers, EncodedCaption, LlamaTokenizer, PromptError, TextToken};

/// A caption with its m positions in the language model's sequence, and its tokens in both
/// vocabularies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrivingCaption {
    /// What it says.
    pub text: String,
    /// For each of the m positions whose logits predict the caption's tokens, the bytes of `text`
    /// that the token there wrote.
    pub positions: Vec<Range<usize>>,
    /// `text` in the language model's tokens: T_LLM.
    pub tokens: Vec<TextToken>,
    /// `text` as CLIP-L takes it.
    pub clip_l: EncodedCaption,
    /// `text` as CLIP-G takes it.
    pub clip_g: EncodedCaption,
    /// `text` in T5's ids, where the model has it.
    pub t5: Option<Vec<i64>>,
}

impl DrivingCaption {
    /// The reference caption; its positions are its own tokens'.
    ///
    /// # Errors
    /// If a tokenizer fails.
    pub fn gold(
        text: &str,
        llama: &LlamaTokenizer,
        encoders: &CaptionTokenizers,
    ) -> Result<Self, PromptError> {
        let tokens = llama.encode(text)?;
        let positions = tokens.iter().map(|token| token.bytes.clone()).collect();
        Self::new(text.to_owned(), positions, tokens, encoders)
    }

    /// The caption that the language model itself wrote: the token drawn at each position, read as
    /// at inference and tokenised again.
    ///
    /// # Errors
    /// If a tokenizer fails.
    pub fn own(
        drawn: &[u32],
        llama: &LlamaTokenizer,
        encoders: &CaptionTokenizers,
    ) -> Result<Self, PromptError> {
        let (text, positions) = llama.decode_spans(drawn);
        let tokens = llama.encode(&text)?;
        Self::new(text, positions, tokens, encoders)
    }

    fn new(
        text: String,
        positions: Vec<Range<usize>>,
        tokens: Vec<TextToken>,
        encoders: &CaptionTokenizers,
    ) -> Result<Self, PromptError> {
        Ok(Self {
            positions,
            tokens,
            clip_l: encoders.clip_l.encode(&text)?,
            clip_g: encoders.clip_g.encode(&text)?,
            t5: encoders.t5.as_ref().map(|t5| Ok(t5.encode(&text)?.ids)).transpose()?,
            text,
        })
    }
}
