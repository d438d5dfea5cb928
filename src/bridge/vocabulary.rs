//! Which tokens of the language model correspond to which tokens of a text encoder: the sparse
//! forms of the paper's transformation matrices, as plain numbers.

use std::collections::HashMap;
use std::ops::Range;

use super::Mode;
use super::driving::DrivingCaption;
use crate::prompt::{CaptionTokenizer, EncodedCaption, LlamaTokenizer};

/// When two tokens are the same string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaticMatch {
    /// They write the same bytes. CLIP's end-of-word mark writes nothing.
    Raw,
    /// They write the same text once its outer white space is dropped and it is lower-cased.
    Folded,
}

/// Eq. 3 over whole vocabularies: for each token of the language model that has one, the tokens of
/// the encoder that are the same string, both in the order of their ids. Control tokens match
/// nothing.
pub fn static_matches(
    llama: &LlamaTokenizer,
    encoder: &CaptionTokenizer,
    sameness: StaticMatch,
) -> Vec<(u32, Vec<u32>)> {
    let fold = |bytes: &[u8]| match sameness {
        StaticMatch::Raw => Some(bytes.to_vec()),
        StaticMatch::Folded => {
            let text = std::str::from_utf8(bytes).ok()?.trim().to_lowercase();
            (!text.is_empty()).then(|| text.into_bytes())
        }
    };
    let mut encoders: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
    for (id, bytes) in encoder.written() {
        if let Some(key) = fold(&bytes) {
            encoders.entry(key).or_default().push(id);
        }
    }
    for ids in encoders.values_mut() {
        ids.sort_unstable();
    }
    let tokens = (0..llama.rows() as u32).filter_map(|id| {
        let matches = encoders.get(&fold(llama.token_bytes(id)?)?)?;
        Some((id, matches.clone()))
    });
    tokens.collect()
}

/// The words of a text: its runs of anything but white space, in bytes.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut begin = None;
    for (at, character) in text.char_indices() {
        match (begin, character.is_whitespace()) {
            (None, false) => begin = Some(at),
            (Some(from), true) => {
                words.push(from..at);
                begin = None;
            }
            _ => {}
        }
    }
    words.extend(begin.map(|from| from..text.len()));
    words
}

/// One word of a caption on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WordMap {
    /// The positions of the language model that wrote it.
    pub(super) positions: Vec<usize>,
    /// T_LLM(w), rising and each once.
    pub(super) llama: Vec<u32>,
    /// T_SD(w), rising and each once.
    pub(super) encoder: Vec<i64>,
}

/// One content position of the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The word that it belongs to.
    pub(super) word: Option<usize>,
    /// The positions of the language model that overlap it.
    pub(super) overlaps: Vec<usize>,
}

/// What corresponds to what within one caption, for one encoder. Of a caption longer than the
/// encoder it holds only the words of which something is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionMap {
    /// R̃: the encoder's ids, hard.
    pub(super) ids: Vec<i64>,
    /// Which of them are content.
    pub(super) content: Range<usize>,
    /// T_LLM, rising and each once.
    pub(super) llama: Vec<u32>,
    /// T_SD, rising and each once.
    pub(super) encoder: Vec<i64>,
    /// The words that survive, in order.
    pub(super) words: Vec<WordMap>,
    /// The content positions.
    pub(super) places: Vec<Place>,
}

impl CaptionMap {
    /// Aligns `caption` with `encoded`, which is `caption.text` as the encoder takes it.
    pub fn new(caption: &DrivingCaption, encoded: &EncodedCaption) -> Self {
        let content_ids = &encoded.ids[encoded.content.clone()];
        let all = words(&caption.text);
        let survives = |word: &&Range<usize>| encoded.bytes.iter().any(|at| overlap(at, word));
        let surviving: Vec<Range<usize>> = all.iter().filter(survives).cloned().collect();
        let end = match (surviving.last(), all.last()) {
            (Some(last), Some(very_last)) if last != very_last => last.end,
            _ => caption.text.len(),
        };
        let word_map = |word: &Range<usize>| {
            let tokens = caption.tokens.iter().filter(|token| overlap(&token.bytes, word));
            let content = overlapping(&encoded.bytes, word).into_iter();
            WordMap {
                positions: overlapping(&caption.positions, word),
                llama: distinct(tokens.map(|token| token.id)),
                encoder: distinct(content.map(|at| content_ids[at])),
            }
        };
        let place = |bytes: &Range<usize>| Place {
            word: surviving.iter().position(|word| overlap(word, bytes)),
            overlaps: overlapping(&caption.positions, bytes),
        };
        let kept = caption.tokens.iter().filter(|token| token.bytes.start < end);
        Self {
            llama: distinct(kept.map(|token| token.id)),
            encoder: distinct(content_ids.iter().copied()),
            words: surviving.iter().map(word_map).collect(),
            places: encoded.bytes.iter().map(place).collect(),
            ids: encoded.ids.clone(),
            content: encoded.content.clone(),
        }
    }

    /// Bytes that the mapping of `mode` takes beside the ids themselves, which every caption has:
    /// nothing for [`Mode::Static`], whose table belongs to no caption.
    pub fn bytes(&self, mode: Mode) -> usize {
        let (llama, encoder) = (size_of_val::<[u32]>, size_of_val::<[i64]>);
        let positions = size_of_val::<[usize]>;
        match mode {
            Mode::Static(_) => 0,
            Mode::Sentence => llama(&self.llama) + encoder(&self.encoder),
            Mode::Word => {
                let word = |word: &WordMap| {
                    positions(&word.positions) + llama(&word.llama) + encoder(&word.encoder)
                };
                let words: usize = self.words.iter().map(word).sum();
                words + self.places.len() * size_of::<Option<usize>>()
            }
            Mode::Position => self.places.iter().map(|place| positions(&place.overlaps)).sum(),
        }
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The indices of the ranges that overlap `range`.
fn overlapping(ranges: &[Range<usize>], range: &Range<usize>) -> Vec<usize> {
    let hits = ranges.iter().enumerate().filter(|(_, other)| overlap(other, range));
    hits.map(|(at, _)| at).collect()
}

fn distinct<T: Ord>(ids: impl Iterator<Item = T>) -> Vec<T> {
    let mut ids: Vec<T> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
