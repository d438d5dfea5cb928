//! Does it share a photo when it should?
//!
//! Deciding by itself when to share is what a photo-sharing dialogue model is for, and replies
//! that read well can hide that it shares always or never. Every decision is one of four: shared
//! and rightly so, shared for nothing, missed, or rightly left alone; sharing counts, not which
//! photo. The keyword rule beside it shows how far one comes without understanding anything.

use super::bootstrap::{Ratio, Tally};
use super::case::Case;
pub use crate::data::Timing;
use crate::data::keyword_rule;

impl Tally for Timing {
    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.false_alarms += other.false_alarms;
        self.misses += other.misses;
    }
}

/// Of one decision by the system.
pub fn timing(case: &Case<'_>) -> Timing {
    let mut timing = Timing::default();
    timing.count(case.shares_photo(), case.wants_photo());
    timing
}

/// Of one decision by the rule that looks for keywords in B's last turn.
pub fn keyword_timing(case: &Case<'_>) -> Timing {
    let mut timing = Timing::default();
    timing.count(keyword_rule(&case.example.turns()[case.turn - 1]), case.wants_photo());
    timing
}

/// How often the system shares, of all decisions.
pub fn sharing(case: &Case<'_>) -> Ratio {
    Ratio { right: usize::from(case.shares_photo()), of: 1 }
}

/// How often A shared, of all decisions.
pub fn true_sharing(case: &Case<'_>) -> Ratio {
    Ratio { right: usize::from(case.wants_photo()), of: 1 }
}

/// A tally's F1; `None` where nobody shared anything.
pub fn f1(timing: &Timing) -> Option<f64> {
    (timing.hits + timing.false_alarms + timing.misses > 0).then(|| timing.f1())
}

/// A tally's precision; `None` where the system shared nothing.
pub fn precision(timing: &Timing) -> Option<f64> {
    (timing.hits + timing.false_alarms > 0).then(|| timing.precision())
}

/// A tally's recall; `None` where A shared nothing.
pub fn recall(timing: &Timing) -> Option<f64> {
    (timing.hits + timing.misses > 0).then(|| timing.recall())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::{Example, ExampleElement, ExamplePhoto, Picture};
    use crate::dialogue::Speaker;
    use crate::evaluation::case::{Answer, DrawnPhoto};

    /// B asks, A answers with a photo or without.
    fn example(asked: &str, photo: bool) -> Example {
        let mut example = Example::new("e");
        example.push(Speaker::B, [ExampleElement::Utterance(asked.to_owned())]);
        let photo = photo.then(|| ExampleElement::Photo(ExamplePhoto::new(Picture::Missing, None)));
        example.push(
            Speaker::A,
            [ExampleElement::Utterance("well".to_owned())].into_iter().chain(photo),
        );
        example
    }

    fn answer(photo: bool) -> Answer {
        let drawn = DrawnPhoto { file: PathBuf::new(), caption: String::new() };
        Answer { photos: photo.then_some(drawn).into_iter().collect(), ..Answer::default() }
    }

    #[test]
    fn precision_recall_and_f1_by_hand() {
        // Shared, wanted: twice both, once for nothing, thrice missed, four times neither.
        let decisions = [(true, true, 2), (true, false, 1), (false, true, 3), (false, false, 4)];
        let mut tally = Timing::default();
        let mut shared = Ratio::default();
        for (shares, wants, times) in decisions {
            let (example, answer) = (example("hm", wants), answer(shares));
            let case = Case { example: &example, turn: 1, answer: &answer, judgements: &[] };
            for _ in 0..times {
                tally.add(timing(&case));
                shared.add(sharing(&case));
            }
        }
        let near = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
        };
        near(precision(&tally), 2.0 / 3.0);
        near(recall(&tally), 2.0 / 5.0);
        near(f1(&tally), 0.5);
        near(shared.value(), 0.3);
    }

    #[test]
    fn the_keyword_rule_reads_bs_last_turn_alone() {
        for (asked, wants, expected) in [
            ("Show me your cat", true, Timing { hits: 1, ..Timing::default() }),
            ("No photo, please", false, Timing { false_alarms: 1, ..Timing::default() }),
            ("Is it really that big?", true, Timing { misses: 1, ..Timing::default() }),
        ] {
            let (example, answer) = (example(asked, wants), answer(false));
            let case = Case { example: &example, turn: 1, answer: &answer, judgements: &[] };
            assert_eq!(keyword_timing(&case), expected, "{asked}");
        }
    }

    #[test]
    fn nothing_shared_is_no_precision_rather_than_none() {
        let nothing = Timing::default();
        assert_eq!((precision(&nothing), recall(&nothing), f1(&nothing)), (None, None, None));
        let missed = Timing { misses: 2, ..nothing };
        assert_eq!(
            (precision(&missed), recall(&missed), f1(&missed)),
            (None, Some(0.0), Some(0.0))
        );
    }
}
