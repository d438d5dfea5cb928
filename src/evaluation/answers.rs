//! Does it see the photos of the dialogue?
//!
//! A model can talk well about photos that it never looked at: words around them and habits of
//! speech tell much. In the pocket world the truth knows which replies can be right only if a
//! photo was seen, and which words such a reply must say. The same decisions with every photo
//! swapped for another dialogue's are the control: what is still right then was guessed. Guessing
//! alone, by the most frequent answer to each kind of question, is what chance is.

use std::collections::{BTreeMap, BTreeSet};

use super::bootstrap::{Ratio, Tally};
use super::case::Case;
use crate::data::pocket::{Aspect, Sight};

/// Right answers, by what they are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    aspects: [Ratio; Aspect::ALL.len()],
}

impl Answers {
    /// About everything together.
    pub fn all(&self) -> Ratio {
        Ratio::sum(self.aspects)
    }

    /// About one aspect.
    pub fn about(&self, aspect: Aspect) -> Ratio {
        self.aspects[aspect as usize]
    }
}

impl Tally for Answers {
    fn add(&mut self, other: Self) {
        for (own, other) in self.aspects.iter_mut().zip(other.aspects) {
            own.add(other);
        }
    }
}

/// The words of a text in small letters, without punctuation.
pub(super) fn words(text: &str) -> BTreeSet<String> {
    let separates = |c: char| !c.is_alphanumeric() && c != '\'';
    text.split(separates).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// What a case's reply must have seen. A photo that A shares in the same reply is none of that: the
/// system draws its own.
fn sights<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Sight> {
    let turns: Vec<usize> = case.example.photos().map(|(turn, _, _)| turn).collect();
    let turn = case.turn;
    let sights = case.example.truth.iter().flat_map(|truth| &truth.sights);
    sights.filter(move |sight| {
        sight.turn == turn && turns.get(sight.photo).is_some_and(|shown| *shown < turn)
    })
}

/// The words of a kind that are among those said.
pub(super) fn named(aspect: Aspect, said: &BTreeSet<String>) -> BTreeSet<&'static str> {
    aspect.words().into_iter().filter(|word| said.contains(*word)).collect()
}

/// Of one reply: right where it says the words that the truth wants, and no other of the same kind.
pub fn answers(case: &Case<'_>) -> Answers {
    let said = words(&case.answer.text);
    let mut answers = Answers::default();
    for sight in sights(case) {
        let named = named(sight.aspect, &said);
        let wanted: BTreeSet<&str> = sight.answer.iter().map(String::as_str).collect();
        answers.aspects[sight.aspect as usize].count(named == wanted);
    }
    answers
}

/// The most frequent answer about each aspect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guesses(BTreeMap<Aspect, Vec<String>>);

impl Guesses {
    /// From the truth of all cases; of equally frequent answers the first in the alphabet.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a Case<'a>>) -> Self {
        let mut counts: BTreeMap<Aspect, BTreeMap<&[String], usize>> = BTreeMap::new();
        for sight in cases.into_iter().flat_map(sights) {
            *counts.entry(sight.aspect).or_default().entry(&sight.answer).or_default() += 1;
        }
        let most = |answers: BTreeMap<&[String], usize>| {
            let most = answers.into_iter().rev().max_by_key(|(_, count)| *count);
            most.map_or_else(Vec::new, |(answer, _)| answer.to_vec())
        };
        Self(counts.into_iter().map(|(aspect, answers)| (aspect, most(answers))).collect())
    }

    /// Of one case: right where the guess happens to be the answer.
    pub fn answers(&self, case: &Case<'_>) -> Answers {
        let mut answers = Answers::default();
        for sight in sights(case) {
            let right = self.0.get(&sight.aspect) == Some(&sight.answer);
            answers.aspects[sight.aspect as usize].count(right);
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Example;
    use crate::data::pocket::{PocketWorld, Split};
    use crate::evaluation::case::Answer;

    fn examples(count: u64) -> Vec<Example> {
        (0..count).map(|index| PocketWorld { seed: 3 }.words(Split::Test, index)).collect()
    }

    fn said(text: &str) -> Answer {
        Answer { text: text.to_owned(), ..Answer::default() }
    }

    /// All replies of the examples as `reply` words them.
    fn tally(examples: &[Example], reply: impl Fn(&Case<'_>) -> String) -> Answers {
        let mut tally = Answers::default();
        for example in examples {
            for turn in example.replies() {
                let silent = said("");
                let case = Case { example, turn, answer: &silent, judgements: &[] };
                let answer = said(&reply(&case));
                tally.add(answers(&Case { answer: &answer, ..case }));
            }
        }
        tally
    }

    fn reference(case: &Case<'_>) -> String {
        case.reference()
    }

    #[test]
    fn what_a_said_is_right_and_silence_is_wrong() {
        let examples = examples(300);
        let right = tally(&examples, reference);
        assert!(right.all().of > 150, "{right:?}");
        assert_eq!(right.all().right, right.all().of);
        for aspect in Aspect::ALL {
            assert!(right.about(aspect).of > 5, "{aspect:?}: {right:?}");
        }
        let silent = tally(&examples, |_| String::new());
        assert_eq!((silent.all().right, silent.all().of), (0, right.all().of));
    }

    #[test]
    fn naming_every_colour_is_no_answer() {
        let examples = examples(300);
        let hedged = |case: &Case<'_>| {
            let colours = Aspect::Colour.words().join(" or ");
            format!("{} It could be {colours}.", case.reference())
        };
        let tally = tally(&examples, hedged);
        assert_eq!(tally.about(Aspect::Colour).right, 0);
        assert_eq!(tally.about(Aspect::Side).right, tally.about(Aspect::Side).of);
    }

    #[test]
    fn case_and_punctuation_don_t_matter() {
        let found: Vec<String> = words("RED! It's a red, big-ish ball…").into_iter().collect();
        assert_eq!(found, ["a", "ball", "big", "ish", "it's", "red"]);
    }

    #[test]
    fn a_guess_is_right_as_often_as_its_answer_comes() {
        let examples = examples(300);
        let silent = said("");
        let cases: Vec<Case<'_>> = examples
            .iter()
            .flat_map(|example| {
                let case = |turn| Case { example, turn, answer: &silent, judgements: &[] };
                example.replies().map(case)
            })
            .collect();
        let guesses = Guesses::of(&cases);
        let tally = Answers::sum(cases.iter().map(|case| guesses.answers(case)));
        let chance = tally.about(Aspect::Side).value().unwrap();
        assert!((0.3..0.6).contains(&chance), "{chance}");
        let chance = tally.all().value().unwrap();
        assert!(chance < 0.6, "{chance}");
        // No other answer about colours comes more often than the guess.
        let guessed = tally.about(Aspect::Colour).right;
        for colour in Aspect::Colour.words() {
            let times = cases.iter().flat_map(sights).filter(|sight| {
                sight.aspect == Aspect::Colour && sight.answer == [colour.to_owned()]
            });
            assert!(times.count() <= guessed, "{colour}");
        }
    }

    #[test]
    fn a_photo_of_the_same_reply_was_not_seen() {
        let mut example = examples(300)
            .into_iter()
            .find(|example| example.truth.as_ref().is_some_and(|truth| !truth.shares.is_empty()))
            .unwrap();
        let truth = example.truth.as_mut().unwrap();
        let share = truth.shares[0].clone();
        truth.sights.clear();
        let sight = Sight {
            turn: share.turn,
            photo: share.photo,
            aspect: Aspect::Colour,
            answer: vec!["red".to_owned()],
        };
        truth.sights.push(sight);
        let answer = said("It's red");
        let case = Case { example: &example, turn: share.turn, answer: &answer, judgements: &[] };
        assert_eq!(answers(&case).all(), Ratio::default());
    }
}
