//! How far a figure can be trusted: percentile bootstrap intervals over dialogues.
//!
//! A figure on 500 dialogues would be another one on 500 others. Decisions of one dialogue hang
//! together, so whole dialogues are drawn again, with replacement, and the figure is computed anew
//! from each draw (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13). Two
//! systems on the same dialogues are compared by drawing the same dialogues for both.

use serde_json::{Value, json};

use super::draws::Draws;

/// How often dialogues are drawn again.
const RESAMPLES: usize = 2_000;

/// What is counted in a dialogue so that sums over dialogues give a figure.
pub trait Tally: Copy + Default {
    /// Adds another's counts.
    fn add(&mut self, other: Self);

    /// The sum of several.
    fn sum(tallies: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        tallies.into_iter().for_each(|tally| sum.add(tally));
        sum
    }
}

impl<A: Tally, B: Tally> Tally for (A, B) {
    fn add(&mut self, other: Self) {
        self.0.add(other.0);
        self.1.add(other.1);
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ratio {
    /// Those that are right.
    pub right: usize,
    /// All of them.
    pub of: usize,
}

impl Ratio {
    /// One more, right or wrong.
    pub fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.of += 1;
    }

    /// The share of those that are right, 0…1; `None` of none.
    pub fn value(&self) -> Option<f64> {
        (self.of > 0).then(|| self.right as f64 / self.of as f64)
    }
}

impl Tally for Ratio {
    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.of += other.of;
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Over all dialogues.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

impl Estimate {
    /// As an object for programs; `key` names how many things it is `over`.
    pub fn json(self, key: &str, over: impl Into<Value>) -> Value {
        json!({ "value": self.value, "low": self.low, "high": self.high, key: over.into() })
    }
}

/// A figure over dialogues, each with its counts, and its 95 % interval; `None` where the figure is
/// not defined. Draws in which it is not defined are left out.
pub fn estimate<T: Tally>(
    dialogues: &[T],
    statistic: impl Fn(&T) -> Option<f64>,
    seed: u64,
) -> Option<Estimate> {
    let value = statistic(&T::sum(dialogues.iter().copied()))?;
    let mut draws = Draws::new(seed, "bootstrap", "");
    let mut values: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn = (0..dialogues.len()).map(|_| dialogues[draws.below(dialogues.len())]);
            statistic(&T::sum(drawn))
        })
        .collect();
    values.sort_by(f64::total_cmp);
    Some(Estimate { value, low: quantile(&values, 0.025)?, high: quantile(&values, 0.975)? })
}

/// By how much `ours` is above `theirs` on the same dialogues, with its 95 % interval.
///
/// # Panics
/// If they are not as many.
pub fn difference<A: Tally, B: Tally>(
    (ours, our_statistic): (&[A], impl Fn(&A) -> Option<f64>),
    (theirs, their_statistic): (&[B], impl Fn(&B) -> Option<f64>),
    seed: u64,
) -> Option<Estimate> {
    assert_eq!(ours.len(), theirs.len(), "the same dialogues on both sides");
    let pairs: Vec<(A, B)> = ours.iter().copied().zip(theirs.iter().copied()).collect();
    estimate(&pairs, |(a, b)| Some(our_statistic(a)? - their_statistic(b)?), seed)
}

/// Of sorted values, between the two nearest (Hyndman and Fan's type 7, NumPy's default).
fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = at * last as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coin(heads: usize, of: usize) -> Vec<Ratio> {
        (0..of).map(|n| Ratio { right: usize::from(n < heads), of: 1 }).collect()
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.975])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        let found = [0.025, 0.5, 0.975].map(|at| quantile(&sorted, at).unwrap());
        for (found, expected) in found.iter().zip([1.075, 3.0, 7.7]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn an_interval_is_as_wide_as_theory_says() {
        let estimate = estimate(&coin(300, 400), Ratio::value, 1).unwrap();
        assert_eq!(estimate.value.to_bits(), 0.75_f64.to_bits());
        // The normal approximation: 1.96 √(0.75 · 0.25 / 400) = 0.0424.
        assert!((estimate.low - (0.75 - 0.0424)).abs() < 0.006, "{estimate:?}");
        assert!((estimate.high - (0.75 + 0.0424)).abs() < 0.006, "{estimate:?}");
    }

    #[test]
    fn dialogues_are_drawn_whole() {
        // Four decisions that always agree tell no more than one.
        let alone = coin(50, 100);
        let together: Vec<Ratio> =
            alone.iter().map(|one| Ratio { right: 4 * one.right, of: 4 }).collect();
        assert_eq!(estimate(&together, Ratio::value, 2), estimate(&alone, Ratio::value, 2));
    }

    #[test]
    fn pairs_are_drawn_together() {
        // Always ahead by one tenth, however much dialogues differ: the difference is certain.
        let theirs: Vec<Ratio> = (0..50).map(|n| Ratio { right: n % 9, of: 10 }).collect();
        let ours: Vec<Ratio> =
            theirs.iter().map(|one| Ratio { right: one.right + 1, of: 10 }).collect();
        let found = difference((&ours, Ratio::value), (&theirs, Ratio::value), 3).unwrap();
        for value in [found.value, found.low, found.high] {
            assert!((value - 0.1).abs() < 1e-12, "{found:?}");
        }
        let alone = estimate(&ours, Ratio::value, 3).unwrap();
        assert!(alone.high - alone.low > 0.05, "{alone:?}");
    }

    #[test]
    fn what_is_not_defined_has_no_figure() {
        assert_eq!(estimate(&[] as &[Ratio], Ratio::value, 4), None);
        assert_eq!(estimate(&[Ratio::default()], Ratio::value, 4), None);
        // A draw without the one dialogue that counts is left out.
        let mut seldom = vec![Ratio::default(); 3];
        seldom.push(Ratio { right: 1, of: 2 });
        let found = estimate(&seldom, Ratio::value, 4).unwrap();
        assert_eq!(
            (found.low.to_bits(), found.high.to_bits()),
            (0.5_f64.to_bits(), 0.5_f64.to_bits())
        );
    }

    #[test]
    fn a_seed_gives_the_same_interval() {
        let dialogues = coin(30, 77);
        let of = |seed| estimate(&dialogues, Ratio::value, seed);
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
    }
}
