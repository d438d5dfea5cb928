//! Dialogues into prompts.
//!
//! * Elements stand in their order. Two texts that follow one another are parted by a line break;
//!   nothing stands between a text and a photo.
//! * B's photo is `<|image|>`. A's own is `[IMG] caption [/IMG]<|image|>`, without the tags where it
//!   has no caption.
//! * Of a photo that isn't seen its words are left: `(photo: caption)`, `(photo)` where there are
//!   none, and `[IMG] caption [/IMG]` for A's own.
//! * The system text is the template's system message, or, where the template refuses that (beside
//!   photos, or at all), it opens the first turn of B's, followed by an empty line.

use std::ops::Range;
use std::path::Path;

use super::chat_template::{ChatTemplate, Closing, Contents, Fragment, Message, Part, Role};
use super::error::{PromptError, PromptLoadError};
use super::image_processor::{ImageProcessor, ImageTiles};
use super::llama_tokenizer::{LlamaTokenizer, Segment};
use super::view::{Seen, TurnView, view};
use crate::dialogue::{Dialogue, Speaker};
use crate::tokens::PhotoTags;

/// How much a prompt may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most tokens.
    pub tokens_max: usize,
    /// Most tiles of photos, all together.
    pub tiles_max: usize,
}

/// What a run of tokens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Text that was said, or the words of a photo that isn't seen.
    Text,
    /// `[IMG]`.
    CaptionOpening,
    /// The caption behind it.
    Caption,
    /// `[/IMG]`.
    CaptionEnd,
    /// `<|image|>`.
    Image,
    /// The control token that ends the turn; its element is the turn's last.
    TurnEnd,
}

/// Where a run of tokens came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The tokens.
    pub tokens: Range<usize>,
    /// The turn of the dialogue.
    pub turn: usize,
    /// The element of the turn.
    pub element: usize,
    /// Who said it.
    pub speaker: Speaker,
    /// What it is.
    pub kind: SpanKind,
}

/// What the language model is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The photos that are seen, in order.
    pub images: Vec<ImageTiles>,
    /// Where in `ids` each photo's `<|image|>` stands.
    pub image_positions: Vec<usize>,
    /// Where each token came from; the template's own tokens are in none.
    pub spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    turn: usize,
    element: usize,
    speaker: Speaker,
    kind: SpanKind,
}

/// A piece of a prompt before it is tokens.
#[derive(Debug, Clone)]
enum Atom {
    Text(String, Option<Origin>),
    Control(u32, Option<Origin>),
}

/// Where the system text goes.
#[derive(Debug, Clone, Copy)]
enum SystemPlace {
    Message,
    FirstTurn,
}

/// Makes prompts for one model directory.
#[derive(Debug)]
pub struct PromptBuilder {
    tokenizer: LlamaTokenizer,
    template: ChatTemplate,
    processor: ImageProcessor,
}

impl PromptBuilder {
    /// Reads tokenizer, chat template and image processor of a mllama directory.
    ///
    /// # Errors
    /// As [`LlamaTokenizer::load`] and [`ImageProcessor::load`], and if there is no chat template.
    pub fn load(directory: &Path, tags: Option<PhotoTags>) -> Result<Self, PromptLoadError> {
        Ok(Self {
            tokenizer: LlamaTokenizer::load(directory, tags)?,
            template: ChatTemplate::load(directory)?,
            processor: ImageProcessor::load(directory)?,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &LlamaTokenizer {
        &self.tokenizer
    }

    /// The image processor.
    pub fn processor(&self) -> &ImageProcessor {
        &self.processor
    }

    /// Makes a prompt within the budget. Photos are demoted first ([`Budget::tiles_max`]: one tile,
    /// then words, oldest first); then the oldest turns are dropped; the last turn always stays,
    /// cut from its front where it alone is too long.
    ///
    /// # Errors
    /// If there is no turn, if the system text alone is too long, or if template or tokenizer fail.
    pub fn build(
        &self,
        dialogue: &Dialogue,
        system_text: Option<&str>,
        budget: Budget,
        closing: Closing,
    ) -> Result<Prompt, PromptError> {
        let last = dialogue.turns().len().checked_sub(1).ok_or(PromptError::Empty)?;
        for first in self.first_that_may_fit(dialogue, budget)?..=last {
            let turns = view(dialogue, first, &self.processor, budget.tiles_max);
            let prompt = self.assemble(&turns, system_text, closing)?;
            if prompt.ids.len() <= budget.tokens_max {
                return Ok(self.perceive(prompt, &turns));
            }
        }
        let mut turns = view(dialogue, last, &self.processor, budget.tiles_max);
        loop {
            let prompt = self.assemble(&turns, system_text, closing)?;
            let excess = prompt.ids.len().saturating_sub(budget.tokens_max);
            if excess == 0 && !turns[0].elements.is_empty() {
                return Ok(self.perceive(prompt, &turns));
            }
            if turns[0].elements.is_empty() {
                return Err(PromptError::NoRoom { tokens_max: budget.tokens_max });
            }
            self.cut_front(&mut turns[0], excess)?;
        }
    }

    /// The first turn from which the texts alone don't exceed the budget: a cheap lower bound, so
    /// that a long history isn't assembled again and again.
    fn first_that_may_fit(
        &self,
        dialogue: &Dialogue,
        budget: Budget,
    ) -> Result<usize, PromptError> {
        let mut tokens = 0;
        let last = dialogue.turns().len() - 1;
        for (at, turn) in dialogue.turns().iter().enumerate().rev() {
            for element in &turn.elements {
                if let crate::dialogue::Element::Utterance(text) = element {
                    tokens += self.tokenizer.encode(text)?.len();
                }
            }
            if tokens > budget.tokens_max {
                return Ok((at + 1).min(last));
            }
        }
        Ok(0)
    }

    /// Takes at least one token's and about `excess` tokens' worth from a turn's front.
    fn cut_front(&self, turn: &mut TurnView<'_>, excess: usize) -> Result<(), PromptError> {
        let mut excess = excess.max(1);
        while let Some((_, seen)) = turn.elements.first_mut() {
            let cost = match seen {
                Seen::Text(text) => {
                    let tokens = self.tokenizer.encode(text)?;
                    let behind = tokens.iter().skip(excess).find(|token| token.bytes.start > 0);
                    if let Some(token) = behind {
                        *text = &text[token.bytes.start..];
                        return Ok(());
                    }
                    tokens.len()
                }
                Seen::Pixels { .. } => 1,
                Seen::Words(words) => 1 + self.tokenizer.encode(words.unwrap_or_default())?.len(),
            };
            turn.elements.remove(0);
            excess = excess.saturating_sub(cost);
            if excess == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Turns the photos that are seen into tiles.
    fn perceive(&self, mut prompt: Prompt, turns: &[TurnView<'_>]) -> Prompt {
        let seen = turns.iter().flat_map(|turn| &turn.elements);
        prompt.images = seen
            .filter_map(|(_, seen)| match seen {
                Seen::Pixels { pixels, detail, .. } => {
                    Some(self.processor.process(pixels, *detail))
                }
                Seen::Text(_) | Seen::Words(_) => None,
            })
            .collect();
        prompt
    }

    /// The prompt of what is seen, without its photos' pixels.
    fn assemble(
        &self,
        turns: &[TurnView<'_>],
        system_text: Option<&str>,
        closing: Closing,
    ) -> Result<Prompt, PromptError> {
        let places = [SystemPlace::Message, SystemPlace::FirstTurn];
        let places = if system_text.is_some() { &places[..] } else { &places[..1] };
        // A template that takes typed parts may refuse a system message: then its refusal counts,
        // and strings are for templates that know nothing else.
        let ways = [Contents::Parts, Contents::Text]
            .into_iter()
            .flat_map(|contents| places.iter().map(move |place| (contents, *place)));
        let mut failure = None;
        for (contents, place) in ways {
            let mut draft = Draft::new(self.tokenizer.tags());
            draft.write(turns, system_text.map(|text| (text, place)));
            match self.template.render(&draft.messages, contents, closing) {
                Ok(Some(fragments)) => return self.encode(&self.atoms(&fragments, &draft)),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.map_or(PromptError::Reordered, PromptError::Template))
    }

    /// Fills the template's slots.
    fn atoms(&self, fragments: &[Fragment], draft: &Draft) -> Vec<Atom> {
        let mut images = draft.images.iter();
        let mut atoms = Vec::new();
        // The turn whose end comes next.
        let mut open: Option<Origin> = None;
        for fragment in fragments {
            let own = match fragment {
                Fragment::Slot(number) => {
                    let filling = &draft.slots[*number];
                    open = filling.iter().rev().find_map(origin).or(open);
                    atoms.extend(filling.iter().cloned());
                    continue;
                }
                Fragment::Own(own) => own,
            };
            for segment in self.tokenizer.segments(own) {
                atoms.push(match segment {
                    Segment::Text(text) => Atom::Text(text, None),
                    Segment::Control(id) if id == self.tokenizer.image() => {
                        open = images.next().copied();
                        Atom::Control(id, open)
                    }
                    Segment::Control(id) if self.tokenizer.ends().contains(&id) => {
                        let end = open.take();
                        Atom::Control(id, end.map(|o| Origin { kind: SpanKind::TurnEnd, ..o }))
                    }
                    Segment::Control(id) => Atom::Control(id, None),
                });
            }
        }
        atoms
    }

    /// Encodes atoms, neighbouring texts as one, as if the whole prompt had been one string.
    fn encode(&self, atoms: &[Atom]) -> Result<Prompt, PromptError> {
        let mut writer = Writer::default();
        for run in atoms.chunk_by(|a, b| matches!((a, b), (Atom::Text(..), Atom::Text(..)))) {
            if let [Atom::Control(id, origin)] = run {
                if *id == self.tokenizer.image() {
                    writer.image_positions.push(writer.ids.len());
                }
                writer.push(*id, *origin);
                continue;
            }
            let mut joined = String::new();
            let mut ends = Vec::new();
            for atom in run {
                if let Atom::Text(text, origin) = atom {
                    joined.push_str(text);
                    ends.push((joined.len(), *origin));
                }
            }
            for token in self.tokenizer.encode(&joined)? {
                let place = ends.partition_point(|(end, _)| *end <= token.bytes.start);
                let origin = ends.get(place).and_then(|(_, origin)| *origin);
                writer.push(token.id, origin);
            }
        }
        Ok(Prompt {
            ids: writer.ids,
            images: Vec::new(),
            image_positions: writer.image_positions,
            spans: writer.spans,
        })
    }
}

fn origin(atom: &Atom) -> Option<Origin> {
    match atom {
        Atom::Text(_, origin) | Atom::Control(_, origin) => *origin,
    }
}

/// Ids with their spans.
#[derive(Default)]
struct Writer {
    ids: Vec<u32>,
    image_positions: Vec<usize>,
    spans: Vec<Span>,
}

impl Writer {
    fn push(&mut self, id: u32, origin: Option<Origin>) {
        let at = self.ids.len();
        self.ids.push(id);
        let Some(Origin { turn, element, speaker, kind }) = origin else { return };
        match self.spans.last_mut() {
            Some(span)
                if span.tokens.end == at
                    && (span.turn, span.element, span.kind) == (turn, element, kind) =>
            {
                span.tokens.end += 1;
            }
            _ => self.spans.push(Span { tokens: at..at + 1, turn, element, speaker, kind }),
        }
    }
}

/// Messages with numbered slots, and what goes into them.
struct Draft {
    tags: PhotoTags,
    messages: Vec<Message>,
    slots: Vec<Vec<Atom>>,
    /// Origins of the photos, in order.
    images: Vec<Origin>,
}

impl Draft {
    fn new(tags: PhotoTags) -> Self {
        Self { tags, messages: Vec::new(), slots: Vec::new(), images: Vec::new() }
    }

    fn write(&mut self, turns: &[TurnView<'_>], system: Option<(&str, SystemPlace)>) {
        let mut opening = None;
        match system {
            Some((text, SystemPlace::Message)) => {
                self.open(Role::System);
                self.text(text.to_owned(), None);
            }
            Some((text, SystemPlace::FirstTurn)) => opening = Some(text),
            None => {}
        }
        if opening.is_some() && turns.iter().all(|turn| turn.speaker == Speaker::A) {
            self.open(Role::User);
            self.text(opening.take().unwrap_or_default().to_owned(), None);
        }
        for turn in turns {
            match turn.speaker {
                Speaker::A => self.open(Role::Assistant),
                Speaker::B => {
                    self.open(Role::User);
                    if let Some(text) = opening.take() {
                        self.text(format!("{text}\n\n"), None);
                    }
                }
            }
            self.turn(turn);
        }
    }

    fn turn(&mut self, turn: &TurnView<'_>) {
        let mut after_text = false;
        for (element, seen) in &turn.elements {
            let at = |kind| {
                Some(Origin { turn: turn.turn, element: *element, speaker: turn.speaker, kind })
            };
            let mut say = |draft: &mut Self, text: &str| {
                if !text.is_empty() {
                    let gap = if after_text { "\n" } else { "" };
                    draft.text(format!("{gap}{text}"), at(SpanKind::Text));
                    after_text = true;
                }
            };
            match (turn.speaker, seen) {
                (_, Seen::Text(text)) => say(self, text),
                (Speaker::B, Seen::Words(Some(words))) => say(self, &format!("(photo: {words})")),
                (_, Seen::Words(None)) => say(self, "(photo)"),
                (Speaker::A, Seen::Words(Some(words))) => {
                    self.caption(words, at);
                    after_text = false;
                }
                (speaker, Seen::Pixels { caption, .. }) => {
                    if let (Speaker::A, Some(caption)) = (speaker, caption) {
                        self.caption(caption, at);
                    }
                    self.image(at(SpanKind::Image));
                    after_text = false;
                }
            }
        }
    }

    fn caption(&mut self, caption: &str, at: impl Fn(SpanKind) -> Option<Origin>) {
        self.fill(Atom::Control(self.tags.img, at(SpanKind::CaptionOpening)));
        self.text(caption.to_owned(), at(SpanKind::Caption));
        self.fill(Atom::Control(self.tags.img_end, at(SpanKind::CaptionEnd)));
    }

    fn open(&mut self, role: Role) {
        self.messages.push(Message { role, parts: Vec::new() });
    }

    fn text(&mut self, text: String, origin: Option<Origin>) {
        self.fill(Atom::Text(text, origin));
    }

    fn image(&mut self, origin: Option<Origin>) {
        self.images.extend(origin);
        self.parts().push(Part::Image);
    }

    /// Puts an atom into the message's last slot, or a new one behind a photo.
    fn fill(&mut self, atom: Atom) {
        if !matches!(self.parts().last(), Some(Part::Slot(_))) {
            let number = self.slots.len();
            self.slots.push(Vec::new());
            self.parts().push(Part::Slot(number));
        }
        self.slots.last_mut().expect("a slot was opened at the latest above").push(atom);
    }

    fn parts(&mut self) -> &mut Vec<Part> {
        &mut self.messages.last_mut().expect("a message is opened before it is filled").parts
    }
}
