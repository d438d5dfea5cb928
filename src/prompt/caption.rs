//! The image generator's tokenizers: CLIP twice, each with its own padding, and T5.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::bytes::token_bytes;
use super::error::{PromptError, PromptLoadError};
use super::files::{read_json, read_text, require, special_token};
use super::plain_tokenizer::PlainTokenizer;
use crate::tokens::{CLIP_POSITIONS, CaptionIds, T5_POSITIONS};

/// CLIP's words: contractions, runs of letters, single digits, runs of anything else.
const CLIP_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
pub(super) const CLIP_BEGIN: &str = "<|startoftext|>";
pub(super) const CLIP_END: &str = "<|endoftext|>";
/// What CLIP's vocabulary writes behind tokens that end a word.
const CLIP_WORD_END: &str = "</w>";

/// A caption as one encoder takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedCaption {
    /// Beginning, content, end and padding; always as many as the encoder has positions.
    pub ids: Vec<i64>,
    /// The positions of the content.
    pub content: Range<usize>,
    /// For each content position, the bytes of the caption that it came from.
    pub bytes: Vec<Range<usize>>,
}

/// One encoder's tokenizer.
#[derive(Debug)]
pub struct CaptionTokenizer {
    plain: PlainTokenizer,
    begin: Option<u32>,
    end: u32,
    padding: u32,
    positions: usize,
}

/// The tokenizers of a diffusion directory.
#[derive(Debug)]
pub struct CaptionTokenizers {
    /// Of the first CLIP encoder.
    pub clip_l: CaptionTokenizer,
    /// Of the second.
    pub clip_g: CaptionTokenizer,
    /// Of T5, where the model has it.
    pub t5: Option<CaptionTokenizer>,
}

impl CaptionTokenizers {
    /// Reads `tokenizer/`, `tokenizer_2/` and, if it is there, `tokenizer_3/` of a diffusers
    /// directory.
    ///
    /// # Errors
    /// If a file is missing or not of its form; the error names it.
    pub fn load(directory: &Path) -> Result<Self, PromptLoadError> {
        let t5 = directory.join("tokenizer_3");
        Ok(Self {
            clip_l: CaptionTokenizer::clip(&directory.join("tokenizer"))?,
            clip_g: CaptionTokenizer::clip(&directory.join("tokenizer_2"))?,
            t5: if t5.is_dir() { Some(CaptionTokenizer::t5(&t5)?) } else { None },
        })
    }

    /// Encodes a caption for every encoder.
    pub fn encode(&self, caption: &str) -> Result<CaptionIds, PromptError> {
        Ok(CaptionIds {
            clip_l: self.clip_l.encode(caption)?.ids,
            clip_g: self.clip_g.encode(caption)?.ids,
            t5: self.t5.as_ref().map(|t5| Ok(t5.encode(caption)?.ids)).transpose()?,
        })
    }
}

impl CaptionTokenizer {
    /// Reads a CLIP tokenizer: `vocab.json` and `merges.txt` as published, or the same two out of a
    /// `tokenizer.json`, and the padding token that the directory names.
    ///
    /// # Errors
    /// If a file is missing or not of its form, or lacks a token.
    pub fn clip(directory: &Path) -> Result<Self, PromptLoadError> {
        let vocab_path = directory.join("vocab.json");
        let (path, vocab, merges) = if let Some(vocab) = read_json(&vocab_path)? {
            let merges_path = directory.join("merges.txt");
            let merges = parse_merges(&require(read_text(&merges_path)?, &merges_path)?);
            complete(&vocab, &merges, &merges_path)?;
            (vocab_path, Value::Object(vocab), merges)
        } else {
            let path = directory.join("tokenizer.json");
            // What is missed is the published layout's file.
            let mut json: Value = require(read_json(&path)?, &vocab_path)?;
            (path, json["model"]["vocab"].take(), json["model"]["merges"].take())
        };
        let padding = special_token(directory, "pad_token")?.unwrap_or_else(|| CLIP_END.to_owned());
        let plain = PlainTokenizer::new(clip_json(&vocab, &merges, &padding), &path)?;
        Ok(Self {
            begin: Some(required_id(&plain, CLIP_BEGIN, &path)?),
            end: required_id(&plain, CLIP_END, &path)?,
            padding: required_id(&plain, &padding, &path)?,
            plain,
            positions: CLIP_POSITIONS,
        })
    }

    /// Reads a T5 tokenizer.
    ///
    /// # Errors
    /// If there is no `tokenizer.json` (`spiece.model` alone is not read), or it lacks a token.
    pub fn t5(directory: &Path) -> Result<Self, PromptLoadError> {
        let path = directory.join("tokenizer.json");
        let Some(json) = read_json(&path)? else {
            return Err(PromptLoadError::Unusable {
                path,
                reason: "T5's tokenizer is read from tokenizer.json alone; a spiece.model can be \
                         turned into one with transformers' T5TokenizerFast"
                    .to_owned(),
            });
        };
        let plain = PlainTokenizer::new(json, &path)?;
        let named = |name, default: &str| {
            let token = special_token(directory, name)?.unwrap_or_else(|| default.to_owned());
            required_id(&plain, &token, &path)
        };
        let (end, padding) = (named("eos_token", "</s>")?, named("pad_token", "<pad>")?);
        Ok(Self { begin: None, end, padding, plain, positions: T5_POSITIONS })
    }

    /// One more than the largest id: the rows that the encoder's token table must have at least.
    pub fn rows(&self) -> usize {
        self.plain.rows()
    }

    /// The tokens of text with the bytes that each writes, CLIP's end-of-word mark left out;
    /// beginning and end of text are not among them. Meant for CLIP's vocabularies.
    pub fn written(&self) -> impl Iterator<Item = (u32, Vec<u8>)> {
        self.plain.text_tokens().filter_map(|(token, id)| {
            let token = token.strip_suffix(CLIP_WORD_END).unwrap_or(&token);
            Some((id, token_bytes(token)?))
        })
    }

    /// Encodes a caption: cut to the encoder's positions with the end-of-text kept, and padded.
    pub fn encode(&self, caption: &str) -> Result<EncodedCaption, PromptError> {
        let tokens = self.plain.encode(caption)?;
        let first = usize::from(self.begin.is_some());
        let kept = tokens.len().min(self.positions - first - 1);
        let content = first..first + kept;
        let ids = self.begin.into_iter();
        let ids = ids.chain(tokens[..kept].iter().map(|token| token.id)).chain([self.end]);
        let mut ids: Vec<i64> = ids.map(i64::from).collect();
        ids.resize(self.positions, i64::from(self.padding));
        let bytes = tokens.into_iter().take(kept).map(|token| token.bytes).collect();
        Ok(EncodedCaption { ids, content, bytes })
    }
}

fn required_id(plain: &PlainTokenizer, token: &str, path: &Path) -> Result<u32, PromptLoadError> {
    plain.id(token).ok_or_else(|| PromptLoadError::Unusable {
        path: path.to_owned(),
        reason: format!("there is no token {token}; take the files of the same model"),
    })
}

/// Whether every token of several characters comes out of a merge: a file that was cut off would
/// spell words otherwise, and nobody would notice.
fn complete(
    vocab: &Map<String, Value>,
    merges: &Value,
    path: &Path,
) -> Result<(), PromptLoadError> {
    let made: HashSet<String> = merges
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| [&pair[0], &pair[1]].map(|part| part.as_str().unwrap_or_default()).concat())
        .collect();
    let is_character =
        |token: &str| token.strip_suffix(CLIP_WORD_END).unwrap_or(token).chars().nth(1).is_none();
    let is_control = |token: &str| token.starts_with("<|") && token.ends_with("|>");
    let unmade = vocab
        .keys()
        .find(|token| !is_character(token) && !is_control(token) && !made.contains(*token));
    match unmade {
        None => Ok(()),
        Some(token) => Err(PromptLoadError::Unusable {
            path: path.to_owned(),
            reason: format!("it does not make the token {token} of vocab.json; download it again"),
        }),
    }
}

/// `merges.txt` in the form of `tokenizer.json`: pairs, without the version line.
fn parse_merges(text: &str) -> Value {
    let lines = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    lines.map(|line| line.split(' ').collect::<Vec<_>>()).collect::<Vec<_>>().into()
}

/// The `tokenizer.json` that transformers' `CLIPTokenizer` makes of a vocabulary and its merges.
/// There a padding token like `!` is cut out of words wherever it is written, and so it is here.
fn clip_json(vocab: &Value, merges: &Value, padding: &str) -> Value {
    let added = |token: &str| {
        json!({
            "content": token,
            "id": vocab[token],
            "special": (token == CLIP_BEGIN || token == CLIP_END),
            "normalized": false,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
        })
    };
    let mut tokens = vec![CLIP_BEGIN, CLIP_END];
    if !tokens.contains(&padding) {
        tokens.push(padding);
    }
    tokens.retain(|token| vocab[token].is_u64());
    let added: Vec<Value> = tokens.into_iter().map(added).collect();
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ]},
        "pre_tokenizer": clip_pre_tokenizer(),
        "decoder": null,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": CLIP_WORD_END,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    })
}

/// How captions are cut into words.
pub(super) fn clip_pre_tokenizer() -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        {
            "type": "Split",
            "pattern": { "Regex": CLIP_WORDS },
            "behavior": "Removed",
            "invert": true,
        },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
    ]})
}
