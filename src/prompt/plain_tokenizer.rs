//! A tokenizer that takes every text as text.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::error::{PromptError, PromptLoadError};

/// A token of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextToken {
    /// Its id.
    pub id: u32,
    /// The bytes of the text that it came from; tokens that share a character share its range.
    pub bytes: Range<usize>,
}

/// A `tokenizer.json` without its control tokens: what a person types can't make one.
#[derive(Debug)]
pub(super) struct PlainTokenizer {
    tokenizer: Tokenizer,
    /// The control tokens that were taken out, by their text.
    controls: BTreeMap<String, u32>,
    /// Added tokens that are words like others.
    words: BTreeMap<String, u32>,
}

impl PlainTokenizer {
    /// Takes the control tokens (the special ones of `added_tokens`) out of a `tokenizer.json` that lies at `path`.
    ///
    /// # Errors
    /// If it is no tokenizer, or if a control token's text still makes that token.
    pub(super) fn new(mut json: Value, path: &Path) -> Result<Self, PromptLoadError> {
        let unusable = |reason: String| PromptLoadError::Unusable { path: path.to_owned(), reason };
        let mut controls = BTreeMap::new();
        let mut words = BTreeMap::new();
        for token in json["added_tokens"].as_array().map_or(&[][..], Vec::as_slice) {
            let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64())
            else {
                return Err(unusable("an added token lacks its content or its id; put the original file in its place".to_owned()));
            };
            let kind = if is_control(token) { &mut controls } else { &mut words };
            kind.insert(content.to_owned(), id as u32);
        }
        if !json["model"].is_object() {
            return Err(unusable(
                "there is no model; put the original file in its place".to_owned(),
            ));
        }
        let unknown = unknown_id(&json["model"], &controls);
        hide(&mut json["model"], &controls);
        if let Some(added) = json["added_tokens"].as_array_mut() {
            added.retain(|token| !is_control(token));
        }
        for part in ["post_processor", "truncation", "padding"] {
            json[part] = Value::Null;
        }
        let tokenizer = Tokenizer::from_bytes(json.to_string())
            .map_err(|source| PromptLoadError::Tokenizer { path: path.to_owned(), source })?;
        let plain = Self { tokenizer, controls, words };
        // What a vocabulary doesn't know is unknown, whoever wrote it.
        for (content, id) in plain.controls.iter().filter(|(_, id)| unknown != Some(**id)) {
            let ids = plain.encode(content);
            if !ids.is_ok_and(|tokens| tokens.iter().all(|token| token.id != *id)) {
                return Err(unusable(format!(
                    "the text {content} makes control token {id} even as text; put the original file in its place"
                )));
            }
        }
        Ok(plain)
    }

    /// The tokens of a text, control tokens never among them.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<TextToken>, PromptError> {
        let encoding = self.tokenizer.encode(text, false).map_err(PromptError::Tokenizer)?;
        let offsets = encoding.get_offsets().iter();
        let tokens = encoding.get_ids().iter().zip(offsets);
        Ok(tokens.map(|(&id, &(begin, end))| TextToken { id, bytes: begin..end }).collect())
    }

    /// The control tokens by their text.
    pub(super) fn controls(&self) -> &BTreeMap<String, u32> {
        &self.controls
    }

    /// The id of a token by its own text.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.controls.get(token).copied().or_else(|| self.tokenizer.token_to_id(token))
    }

    /// The tokens of the model's own vocabulary that text can make.
    pub(super) fn text_tokens(&self) -> impl Iterator<Item = (String, u32)> {
        let controls: BTreeSet<u32> = self.controls.values().copied().collect();
        self.tokenizer.get_vocab(false).into_iter().filter(move |(_, id)| !controls.contains(id))
    }

    /// One more than the largest id: the rows that an embedding must have at least.
    pub(super) fn rows(&self) -> usize {
        let added = self.controls.values().chain(self.words.values()).copied();
        let ids = self.tokenizer.get_vocab(false).into_values().chain(added);
        ids.max().map_or(0, |id| id as usize + 1)
    }

    /// The added tokens that text can make, by their text.
    pub(super) fn words(&self) -> &BTreeMap<String, u32> {
        &self.words
    }
}

fn is_control(added_token: &Value) -> bool {
    added_token["special"].as_bool().unwrap_or(true)
}

/// The id that stands for what the vocabulary doesn't know.
fn unknown_id(model: &Value, controls: &BTreeMap<String, u32>) -> Option<u32> {
    let named = model["unk_token"].as_str().and_then(|token| controls.get(token).copied());
    named.or_else(|| model["unk_id"].as_u64().map(|id| id as u32))
}

/// Renames control tokens in the model's own vocabulary, where text could still reach them; their
/// ids stay taken.
fn hide(model: &mut Value, controls: &BTreeMap<String, u32>) {
    // A noncharacter, which no text holds.
    let hidden = |token: &str| format!("\u{FFFF}{token}\u{FFFF}");
    if let Some(unknown) = model["unk_token"].as_str()
        && controls.contains_key(unknown)
    {
        model["unk_token"] = Value::from(hidden(unknown));
    }
    match &mut model["vocab"] {
        Value::Object(vocab) => {
            for content in controls.keys() {
                if let Some(id) = vocab.remove(content) {
                    vocab.insert(hidden(content), id);
                }
            }
        }
        // Unigram: pairs of a piece and its score.
        Value::Array(pieces) => {
            for piece in pieces {
                if let Some(text) = piece[0].as_str()
                    && controls.contains_key(text)
                {
                    piece[0] = Value::from(hidden(text));
                }
            }
        }
        _ => {}
    }
}
