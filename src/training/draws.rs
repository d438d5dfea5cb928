//! Seeds of random draws: functions of the run's seed, the step, what they are for, and the place
//! in the batch. Nothing carries over from step to step, so there is no state to lose.

use crate::torch::Generator;

/// What a draw is for. Each has a sequence of its own, so that a setting that adds draws of one
/// purpose changes no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The order of the examples in an epoch.
    Order,
    /// The Gumbel noise of a caption.
    Gumbel,
    /// Whether the model's own caption drives a picture.
    CaptionSource,
    /// Whether a caption is dropped for classifier-free guidance.
    CaptionDropout,
    /// The noise level σ of a picture.
    NoiseLevel,
    /// The noise ε of a picture.
    Noise,
    /// The draw from the autoencoder's distribution of latents.
    Latents,
    /// Whether a picture is mirrored.
    Flip,
    /// Dropout masks.
    Dropout,
    /// Initial values of trained tensors.
    Initial,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Gumbel => "gumbel",
            Self::CaptionSource => "caption source",
            Self::CaptionDropout => "caption dropout",
            Self::NoiseLevel => "noise level",
            Self::Noise => "noise",
            Self::Latents => "latents",
            Self::Flip => "flip",
            Self::Dropout => "dropout",
            Self::Initial => "initial",
        }
    }
}

/// The random draws of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
    step: u64,
}

impl Draws {
    /// Of step `step` (or, for the order of examples, epoch) of the run with `seed`.
    pub fn new(seed: u64, step: u64) -> Self {
        Self { seed, step }
    }

    /// The seed for `purpose` at `place`: what the draw is for, counted within the step. Whoever
    /// counts examples or photos of the whole batch gets draws that don't depend on how the batch
    /// is cut into micro-batches.
    pub fn seed(&self, purpose: Purpose, place: u64) -> u64 {
        let mut word = [0; 8];
        self.stream(purpose, place).fill(&mut word);
        u64::from_le_bytes(word)
    }

    /// A tensor generator at the beginning of that seed's sequence.
    pub fn generator(&self, purpose: Purpose, place: u64) -> Generator {
        Generator::new(self.seed(purpose, place))
    }

    /// A number from [0, 1).
    pub fn uniform(&self, purpose: Purpose, place: u64) -> f64 {
        (self.seed(purpose, place) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The numbers below `count` in a random order (Fisher and Yates).
    pub fn permutation(&self, purpose: Purpose, count: usize) -> Vec<usize> {
        let mut stream = self.stream(purpose, 0);
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let mut word = [0; 16];
            stream.fill(&mut word);
            // 128 bits: the remainder's bias is far below anything that could be seen.
            order.swap(last, (u128::from_le_bytes(word) % (last as u128 + 1)) as usize);
        }
        order
    }

    fn stream(&self, purpose: Purpose, place: u64) -> blake3::OutputReader {
        let mut hasher = blake3::Hasher::new();
        for number in [self.seed, self.step, place] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(purpose.name().as_bytes());
        hasher.finalize_xof()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_purpose_step_place_and_run_has_seeds_of_its_own() {
        let mut seen = HashSet::new();
        for run in 0..3 {
            for step in 0..3 {
                for place in 0..3 {
                    for purpose in [Purpose::Noise, Purpose::NoiseLevel, Purpose::Gumbel] {
                        assert!(seen.insert(Draws::new(run, step).seed(purpose, place)));
                    }
                }
            }
        }
        let again = Draws::new(1, 2).seed(Purpose::Gumbel, 0);
        assert_eq!(Draws::new(1, 2).seed(Purpose::Gumbel, 0), again);
    }

    #[test]
    fn uniform_numbers_fill_the_interval_evenly() {
        let draws = Draws::new(7, 0);
        let numbers: Vec<f64> = (0..4000).map(|i| draws.uniform(Purpose::Flip, i)).collect();
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = numbers.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    #[test]
    fn a_permutation_holds_every_number_once_and_favours_no_place() {
        let mut firsts = [0; 5];
        for epoch in 0..2000 {
            let order = Draws::new(1, epoch).permutation(Purpose::Order, 5);
            assert_eq!(order.iter().copied().collect::<HashSet<_>>().len(), 5);
            firsts[order[0]] += 1;
        }
        assert!(firsts.iter().all(|&count| (330..470).contains(&count)), "{firsts:?}");
    }
}
