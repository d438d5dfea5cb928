//! Generated tokens into text, captions and elements.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::llama_tokenizer::LlamaTokenizer;
use crate::dialogue::{Element, Photo, Redacted};

/// What a token brought.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// The reply goes on; this much more text can be shown, perhaps none.
    Text(String),
    /// The reply goes on inside a caption, which is not shown.
    Caption,
    /// `[/IMG]`: a photo with this caption belongs here.
    Photo {
        /// What it shall show; never empty.
        caption: String,
    },
    /// The turn ended.
    End,
}

impl fmt::Debug for Step {
    /// Without the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.debug_tuple("Text").field(&Redacted).finish(),
            Self::Caption => f.write_str("Caption"),
            Self::Photo { .. } => f.debug_tuple("Photo").field(&Redacted).finish(),
            Self::End => f.write_str("End"),
        }
    }
}

/// Reads a reply token by token. Text comes in deltas that never split a character or a grapheme
/// cluster; captions and control tokens are never in them.
pub struct ReplyDecoder<'a> {
    tokenizer: &'a LlamaTokenizer,
    /// Bytes that aren't whole characters yet.
    bytes: Vec<u8>,
    /// Text of the element that is being written.
    text: String,
    /// How much of `text` was given out.
    shown: usize,
    place: Place,
    elements: Vec<Element>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Caption,
    Ended,
}

impl<'a> ReplyDecoder<'a> {
    /// A decoder before the reply's first token.
    pub fn new(tokenizer: &'a LlamaTokenizer) -> Self {
        Self {
            tokenizer,
            bytes: Vec::new(),
            text: String::new(),
            shown: 0,
            place: Place::Text,
            elements: Vec::new(),
        }
    }

    /// Takes the next token. What comes behind the turn's end is ignored.
    pub fn push(&mut self, id: u32) -> Step {
        let tags = self.tokenizer.tags();
        match self.place {
            Place::Ended => Step::End,
            _ if self.tokenizer.ends().contains(&id) => {
                self.place = Place::Ended;
                Step::End
            }
            Place::Text if id == tags.img => {
                let rest = self.close_text();
                self.place = Place::Caption;
                Step::Text(rest)
            }
            Place::Caption if id == tags.img_end => self.close_caption(),
            Place::Text => {
                self.take(id);
                Step::Text(self.ready())
            }
            Place::Caption => {
                self.take(id);
                Step::Caption
            }
        }
    }

    /// The reply's elements, and the text that was held back until its end was known. Photos have
    /// their captions and no pixels yet. A caption without its end is dropped: half a caption
    /// would draw another photo.
    pub fn finish(mut self) -> (String, Vec<Element>) {
        let unfinished_caption = self.place == Place::Caption;
        let rest = if unfinished_caption { String::new() } else { self.close_text() };
        (rest, self.elements)
    }

    /// Is the reply inside a caption?
    pub fn in_caption(&self) -> bool {
        self.place == Place::Caption
    }

    /// Adds a token's bytes, and makes characters of those that are whole.
    fn take(&mut self, id: u32) {
        let Some(bytes) = self.tokenizer.token_bytes(id) else { return };
        self.bytes.extend_from_slice(bytes);
        let mut kept = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            kept += chunk.valid().len();
            let broken = chunk.invalid();
            if broken.is_empty() {
                continue;
            }
            // The beginning of a character at the very end may yet be completed.
            let at_end = kept + broken.len() == self.bytes.len();
            let unfinished = std::str::from_utf8(broken).is_err_and(|e| e.error_len().is_none());
            if at_end && unfinished {
                break;
            }
            self.text.push(char::REPLACEMENT_CHARACTER);
            kept += broken.len();
        }
        self.bytes.drain(..kept);
    }

    /// What may be shown: all but the last grapheme cluster, which the next token may extend.
    fn ready(&mut self) -> String {
        let fresh = &self.text[self.shown..];
        let held = fresh.graphemes(true).next_back().map_or(0, str::len);
        let ready = fresh[..fresh.len() - held].to_owned();
        self.shown += ready.len();
        ready
    }

    /// Ends the current run; answers what of it wasn't shown yet.
    fn close(&mut self) -> (String, String) {
        if !self.bytes.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.bytes.clear();
        }
        let text = std::mem::take(&mut self.text);
        let rest = text[self.shown..].to_owned();
        self.shown = 0;
        (text, rest)
    }

    fn close_text(&mut self) -> String {
        let (text, rest) = self.close();
        let said = text.trim();
        if !said.is_empty() {
            self.elements.push(Element::Utterance(said.to_owned()));
        }
        rest
    }

    fn close_caption(&mut self) -> Step {
        let (text, _) = self.close();
        self.place = Place::Text;
        let caption = text.trim().to_owned();
        if caption.is_empty() {
            return Step::Text(String::new());
        }
        self.elements.push(Element::Photo(Photo { pixels: None, caption: Some(caption.clone()) }));
        Step::Photo { caption }
    }
}
