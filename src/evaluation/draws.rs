//! Seeded draws for resampling, for swapping photos, and for the seeds of replies.

use blake3::OutputReader;

/// A stream of random draws: BLAKE3's output for a seed and what the draws are for.
pub(super) struct Draws(OutputReader);

impl Draws {
    /// The stream of `seed` for one purpose, and within it for one item.
    pub(super) fn new(seed: u64, purpose: &str, item: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        // Lengths part the two, so that no pair runs into another.
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes()).update(item.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform among 0…n-1.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // The bias of a 64-bit product's upper half is below n / 2⁶⁴.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_item_and_come_again() {
        let first = |seed, purpose, item| Draws::new(seed, purpose, item).bits();
        let one = first(1, "ab", "c");
        assert_eq!(first(1, "ab", "c"), one);
        for other in [first(2, "ab", "c"), first(1, "a", "bc"), first(1, "ab", "d")] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn every_place_is_drawn_equally_often() {
        let mut draws = Draws::new(3, "places", "");
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            counts[draws.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
