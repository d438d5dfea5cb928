//! What a dataset holds, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::example::{Example, ExampleElement, ExampleTurn, Picture};
use super::pocket::{Act, Aspect, Reason};
use crate::dialogue::Speaker;

/// Words that a careless listener takes for the wish to see a photo.
const KEYWORDS: [&str; 4] = ["photo", "picture", "show", "send"];

/// Counts over a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Dialogues.
    pub dialogues: usize,
    /// Turns of both speakers.
    pub turns: usize,
    /// Texts.
    pub utterances: usize,
    /// Words of all texts, as whitespace parts them.
    pub words: usize,
    /// Different words, without case and punctuation.
    pub distinct_words: usize,
    /// Photos that A shares.
    pub photos_by_a: usize,
    /// Photos that B shows.
    pub photos_by_b: usize,
    /// Photos of which there are only words.
    pub photos_missing: usize,
    /// Photos drawn in the place of missing ones.
    pub photos_drawn: usize,
    /// Photos without a caption.
    pub photos_without_caption: usize,
    /// A's turns that answer something.
    pub replies: usize,
    /// How well a rule that looks for keywords in B's last turn foretells where A shares.
    pub keyword_rule: Timing,
    /// Of the pocket world: the photos that A shares, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<Reason, usize>,
    /// Of the pocket world: replies that are right only if a photo was seen, by aspect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sights: BTreeMap<Aspect, usize>,
    /// Of the pocket world: turns, by what they do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub acts: BTreeMap<Act, usize>,
    /// Of the pocket world: photos of combinations that are kept from training.
    pub held_out_scenes: usize,
    /// Of the pocket world: B's turns in phrasings that are kept from training.
    pub held_out_phrasings: usize,
}

/// How well sharing was foretold, reply by reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Foretold and shared.
    pub hits: usize,
    /// Foretold and not shared.
    pub false_alarms: usize,
    /// Shared and not foretold.
    pub misses: usize,
}

impl Timing {
    /// Counts one reply.
    pub fn count(&mut self, foretold: bool, shared: bool) {
        match (foretold, shared) {
            (true, true) => self.hits += 1,
            (true, false) => self.false_alarms += 1,
            (false, true) => self.misses += 1,
            (false, false) => {}
        }
    }

    /// Of the shares foretold, those that came; 0 where none was foretold.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.hits + self.false_alarms)
    }

    /// Of the shares that came, those foretold; 0 where none came.
    pub fn recall(&self) -> f64 {
        share(self.hits, self.hits + self.misses)
    }

    /// The harmonic mean of the two.
    pub fn f1(&self) -> f64 {
        share(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Serialize for Timing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("precision", &self.precision())?;
        map.serialize_entry("recall", &self.recall())?;
        map.serialize_entry("f1", &self.f1())?;
        map.end()
    }
}

/// Whether the keyword rule expects a photo as the answer to a turn: whether one of its words begins
/// with "photo", "picture", "show" or "send".
pub fn keyword_rule(turn: &ExampleTurn) -> bool {
    turn.texts().flat_map(words).any(|word| KEYWORDS.iter().any(|key| word.starts_with(key)))
}

/// Whether a turn has a photo.
fn shares(turn: &ExampleTurn) -> bool {
    turn.elements.iter().any(|element| matches!(element, ExampleElement::Photo(_)))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let trim = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(trim).filter(|word| !word.is_empty())
}

impl Statistics {
    /// Counts over these examples.
    pub fn of<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        let mut statistics = Self::default();
        let mut vocabulary = BTreeSet::new();
        for example in examples {
            statistics.count(example);
            for text in example.turns().iter().flat_map(ExampleTurn::texts) {
                statistics.utterances += 1;
                statistics.words += text.split_whitespace().count();
                vocabulary.extend(words(text));
            }
        }
        statistics.distinct_words = vocabulary.len();
        statistics
    }

    fn count(&mut self, example: &Example) {
        let turns = example.turns();
        self.dialogues += 1;
        self.turns += turns.len();
        for (_, speaker, photo) in example.photos() {
            match speaker {
                Speaker::A => self.photos_by_a += 1,
                Speaker::B => self.photos_by_b += 1,
            }
            self.photos_missing += usize::from(photo.picture == Picture::Missing);
            self.photos_drawn += usize::from(matches!(photo.picture, Picture::Drawn(_)));
            self.photos_without_caption += usize::from(photo.caption.is_none());
        }
        for reply in example.replies() {
            self.replies += 1;
            self.keyword_rule.count(keyword_rule(&turns[reply - 1]), shares(&turns[reply]));
        }
        let Some(truth) = &example.truth else { return };
        for share in &truth.shares {
            *self.shares.entry(share.reason).or_default() += 1;
        }
        for sight in &truth.sights {
            *self.sights.entry(sight.aspect).or_default() += 1;
        }
        for act in &truth.acts {
            *self.acts.entry(*act).or_default() += 1;
        }
        self.held_out_scenes += truth.scenes.iter().filter(|scene| scene.is_held_out()).count();
        self.held_out_phrasings += truth.held_out_phrasings.len();
    }
}
