//! How well are the true words, captions and pictures foretold?
//!
//! Losses on held-out dialogues tell more finely than right and wrong which of two trainings went
//! better: the mean surprise of a token of the true dialogue (eq. 1), of a caption's token alone,
//! and the mean squared error of the velocity of the photos that A shares (L_v). Under the same
//! draws the figures of two systems may be compared dialogue by dialogue.

use super::bootstrap::{Estimate, Tally, estimate};

/// A mean in the making.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// Of the values.
    pub sum: f64,
    /// How many there are.
    pub of: f64,
}

impl Mean {
    /// The mean; `None` of none.
    pub fn value(&self) -> Option<f64> {
        (self.of > 0.0).then(|| self.sum / self.of)
    }

    /// The mean over all dialogues with its interval, and of how many values.
    pub fn over(dialogues: &[Self], seed: u64) -> Option<(Estimate, f64)> {
        let of = Self::sum(dialogues.iter().copied()).of;
        estimate(dialogues, Self::value, seed).map(|estimate| (estimate, of))
    }
}

impl Tally for Mean {
    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.of += other.of;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_dialogues_weigh_more() {
        let dialogues = [Mean { sum: 6.0, of: 2.0 }, Mean { sum: 2.0, of: 6.0 }, Mean::default()];
        let (estimate, of) = Mean::over(&dialogues, 1).unwrap();
        assert_eq!(
            (estimate.value.to_bits(), of.to_bits()),
            (1.0_f64.to_bits(), 8.0_f64.to_bits())
        );
        assert!(estimate.low < 1.0 && estimate.high > 1.0, "{estimate:?}");
        assert_eq!(Mean::over(&[Mean::default()], 1), None);
    }
}
