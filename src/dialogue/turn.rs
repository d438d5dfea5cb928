//! Who said what, in which order.

use std::fmt;

use super::photo::Photo;
use super::redacted::Redacted;

/// The two roles of a dialogue. Several people are one B; their names stand in B's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// The bot (the chat template's assistant).
    A,
    /// The person (the chat template's user).
    B,
}

/// One piece of a turn.
#[derive(Clone, PartialEq, Eq)]
pub enum Element {
    /// Text.
    Utterance(String),
    /// A photo, at the place where it was shared.
    Photo(Photo),
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utterance(_) => f.debug_tuple("Utterance").field(&Redacted).finish(),
            Self::Photo(photo) => photo.fmt(f),
        }
    }
}

/// An ordered run of elements by one speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub speaker: Speaker,
    /// What, in the order it was sent.
    pub elements: Vec<Element>,
}

/// A dialogue context: turns from the oldest to the newest, no two neighbours by one speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialogue {
    turns: Vec<Turn>,
}

impl Dialogue {
    /// Adds a turn; a run by the same speaker grows, keeping its order. Empty turns vanish.
    pub fn push(&mut self, speaker: Speaker, elements: impl IntoIterator<Item = Element>) {
        let mut elements = elements.into_iter().peekable();
        if elements.peek().is_none() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.speaker == speaker => last.elements.extend(elements),
            _ => self.turns.push(Turn { speaker, elements: elements.collect() }),
        }
    }

    /// The turns, oldest first.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }
}

impl FromIterator<Turn> for Dialogue {
    fn from_iter<I: IntoIterator<Item = Turn>>(turns: I) -> Self {
        let mut dialogue = Self::default();
        for turn in turns {
            dialogue.push(turn.speaker, turn.elements);
        }
        dialogue
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Pixels;
    use super::*;

    #[test]
    fn no_word_shows_in_debug_output() {
        let pixels = Some(Arc::new(Pixels { width: 1, height: 1, rgb: vec![0; 3] }));
        let photo = Photo { pixels, caption: Some("a secret cat".to_owned()) };
        let mut dialogue = Dialogue::default();
        dialogue.push(Speaker::B, [said("my secret"), Element::Photo(photo)]);
        assert_eq!(
            format!("{dialogue:?}"),
            "Dialogue { turns: [Turn { speaker: B, elements: [Utterance(…), \
             Photo { pixels: Some(Pixels(1x1)), caption: Some(…) }] }] }"
        );
    }

    fn said(text: &str) -> Element {
        Element::Utterance(text.to_owned())
    }

    #[test]
    fn runs_by_one_speaker_merge_in_order_and_empty_turns_vanish() {
        let mut dialogue = Dialogue::default();
        dialogue.push(Speaker::B, [said("look")]);
        dialogue.push(Speaker::A, []);
        dialogue.push(Speaker::B, [said("a cat"), said("!")]);
        dialogue.push(Speaker::A, [said("so fluffy")]);
        let expected = [
            Turn { speaker: Speaker::B, elements: vec![said("look"), said("a cat"), said("!")] },
            Turn { speaker: Speaker::A, elements: vec![said("so fluffy")] },
        ];
        assert_eq!(dialogue.turns(), expected);
    }
}
