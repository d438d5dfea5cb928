//! Llama 3's tokenizer: text to ids, ids to bytes, and control tokens kept apart from both.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::bytes::token_bytes;
use super::error::{PromptError, PromptLoadError};
use super::files::{read_json, require, special_token};
use super::plain_tokenizer::{PlainTokenizer, TextToken};
use crate::tokens::PhotoTags;

const FILE: &str = "tokenizer.json";
/// Llama 3 keeps reserved special tokens for uses like these.
const RESERVED: [&str; 2] = ["<|reserved_special_token_0|>", "<|reserved_special_token_1|>"];

/// The text that stands for a photo in a chat template's output.
pub(super) const IMAGE: &str = "<|image|>";

/// A piece of a chat template's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Text(String),
    Control(u32),
}

/// The tokenizer of a mllama directory.
#[derive(Debug)]
pub struct LlamaTokenizer {
    plain: PlainTokenizer,
    /// Bytes of every token of text, by id; `None` for control tokens and gaps.
    bytes: Vec<Option<Vec<u8>>>,
    ends: Vec<u32>,
    image: u32,
    tags: PhotoTags,
}

impl LlamaTokenizer {
    /// Reads `tokenizer.json` and the ids that end a turn. The photo tags are the first two
    /// reserved special tokens, unless `tags` says otherwise.
    ///
    /// # Errors
    /// If a file is missing or not of its form, if the tokenizer isn't byte-level, or if a token
    /// that is needed isn't there; the error names it.
    pub fn load(directory: &Path, tags: Option<PhotoTags>) -> Result<Self, PromptLoadError> {
        let path = directory.join(FILE);
        let json: Value = require(read_json(&path)?, &path)?;
        let unusable = |reason: String| PromptLoadError::Unusable { path: path.clone(), reason };
        if !is_byte_level(&json["decoder"]) {
            return Err(unusable("the decoder must be ByteLevel, as Llama 3's is".to_owned()));
        }
        let plain = PlainTokenizer::new(json, &path)?;
        let control = |name: &str| {
            let id = plain.controls().get(name).copied();
            id.ok_or_else(|| {
                unusable(format!(
                    "there is no special token {name}; take the file of the same model"
                ))
            })
        };
        let image = control(IMAGE)?;
        let tags = match tags {
            Some(tags) => tags,
            None => PhotoTags { img: control(RESERVED[0])?, img_end: control(RESERVED[1])? },
        };
        for id in [tags.img, tags.img_end] {
            if !plain.controls().values().any(|&control| control == id) {
                return Err(unusable(format!(
                    "photo tag {id} is no special token; convert the model again"
                )));
            }
        }
        let ends = turn_ends(directory, &plain)?;
        let vocabulary = plain.text_tokens().map(|(token, id)| (id, token_bytes(&token)));
        let words = plain.words().iter();
        let words = words.map(|(word, id)| (*id, Some(word.clone().into_bytes())));
        let mut bytes = Vec::new();
        for (id, written) in vocabulary.chain(words) {
            let id = id as usize;
            if bytes.len() <= id {
                bytes.resize(id + 1, None);
            }
            bytes[id] = written;
        }
        Ok(Self { plain, bytes, ends, image, tags })
    }

    /// The tokens of a text. Whatever it spells, there is no control token among them.
    pub fn encode(&self, text: &str) -> Result<Vec<TextToken>, PromptError> {
        self.plain.encode(text)
    }

    /// The bytes that a token writes; `None` for control tokens and ids out of the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes.get(id as usize)?.as_deref()
    }

    /// The text of ids, control tokens left out; what isn't UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> =
            ids.iter().filter_map(|&id| self.token_bytes(id)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// As `decode`, trimmed, with the bytes of the text that each id wrote. Ids that share a
    /// character share its range; the range is empty where an id wrote nothing that is left.
    pub fn decode_spans(&self, ids: &[u32]) -> (String, Vec<Range<usize>>) {
        let mut bytes = Vec::new();
        let written: Vec<Range<usize>> = ids
            .iter()
            .map(|&id| {
                let begin = bytes.len();
                bytes.extend_from_slice(self.token_bytes(id).unwrap_or_default());
                begin..bytes.len()
            })
            .collect();
        let mut text = String::new();
        // For each byte that was written, the range in the text of the character that it is part of.
        let mut characters: Vec<Range<usize>> = Vec::with_capacity(bytes.len());
        let mut push = |character: char, width: usize| {
            let begin = text.len();
            text.push(character);
            characters.extend(std::iter::repeat_n(begin..text.len(), width));
        };
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|character| push(character, character.len_utf8()));
            if !chunk.invalid().is_empty() {
                push(char::REPLACEMENT_CHARACTER, chunk.invalid().len());
            }
        }
        let begin = text.len() - text.trim_start().len();
        let end = text.trim_end().len().max(begin);
        let place = |at: usize| at.clamp(begin, end) - begin;
        let spans = written.into_iter().map(|bytes| match &characters[bytes] {
            [first, .., last] => place(first.start)..place(last.end),
            [only] => place(only.start)..place(only.end),
            [] => 0..0,
        });
        let spans = spans.map(|span| if span.is_empty() { 0..0 } else { span }).collect();
        (text[begin..end].to_owned(), spans)
    }

    /// The id of a control token by its text, as in `<|eot_id|>`.
    pub fn control(&self, token: &str) -> Option<u32> {
        self.plain.controls().get(token).copied()
    }

    /// All control tokens with their texts.
    pub fn controls(&self) -> impl Iterator<Item = (&str, u32)> {
        self.plain.controls().iter().map(|(token, &id)| (token.as_str(), id))
    }

    /// One more than the largest id: the rows that the embedding must have at least.
    pub fn rows(&self) -> usize {
        self.plain.rows()
    }

    /// The ids that end a turn.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The id of `<|image|>`.
    pub fn image(&self) -> u32 {
        self.image
    }

    /// The ids of the photo tags.
    pub fn tags(&self) -> PhotoTags {
        self.tags
    }

    /// Cuts a chat template's own output at the control tokens that it spells.
    pub(super) fn segments(&self, text: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let found = self.controls().filter(|(token, _)| rest.starts_with(token));
            if let Some((token, id)) = found.max_by_key(|(token, _)| token.len()) {
                if begin < at {
                    segments.push(Segment::Text(text[begin..at].to_owned()));
                }
                segments.push(Segment::Control(id));
                at += token.len();
                begin = at;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        if begin < text.len() {
            segments.push(Segment::Text(text[begin..].to_owned()));
        }
        segments
    }
}

fn is_byte_level(decoder: &Value) -> bool {
    decoder["type"] == "ByteLevel"
        || decoder["decoders"].as_array().is_some_and(|all| all.iter().any(is_byte_level))
}

/// `eos_token_id` of `generation_config.json`, one or several, or else the tokenizer's own.
fn turn_ends(directory: &Path, plain: &PlainTokenizer) -> Result<Vec<u32>, PromptLoadError> {
    let path = directory.join("generation_config.json");
    let config: Value = read_json(&path)?.unwrap_or_default();
    let listed: Vec<u32> = match &config["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        id => id.as_u64().map(|id| id as u32).into_iter().collect(),
    };
    let mut ends = listed;
    let named = special_token(directory, "eos_token")?;
    ends.extend(named.and_then(|token| plain.controls().get(&token).copied()));
    ends.extend(plain.controls().get("<|eot_id|>"));
    if let Some(&id) = ends.iter().find(|&&id| id as usize >= plain.rows()) {
        let last = plain.rows() - 1;
        let reason = format!("eos_token_id names {id}, but the tokenizer's ids end at {last}");
        return Err(PromptLoadError::Unusable { path, reason });
    }
    ends.sort_unstable();
    ends.dedup();
    if ends.is_empty() {
        let reason = "eos_token_id names no token that ends a turn".to_owned();
        return Err(PromptLoadError::Unusable { path, reason });
    }
    Ok(ends)
}
