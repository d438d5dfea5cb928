//! The pocket world's random draws: SplitMix64 (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", OOPSLA 2014). Its stream is part of the world: the same seed
//! gives the same dialogues on every machine and in every version.

/// Added to the state at every draw: 2⁶⁴ divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of random draws.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    state: u64,
}

impl Draws {
    /// The stream that belongs to a path of numbers, such as a seed and an index.
    pub(super) fn of(path: &[u64]) -> Self {
        let state = path.iter().fold(0, |state: u64, &step| mix(state.wrapping_add(GAMMA) ^ step));
        Self { state }
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in [-1, 1).
    pub(super) fn swing(&mut self) -> f64 {
        self.unit() * 2.0 - 1.0
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform among 0…n-1.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // The bias of a 64-bit product's upper half is below n / 2⁶⁴.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One of several, by weight.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn weighted<T: Copy>(&mut self, from: &[(T, f64)]) -> T {
        let total: f64 = from.iter().map(|(_, weight)| weight).sum();
        let mut at = self.unit() * total;
        for (value, weight) in from {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        from[from.len() - 1].0
    }
}

/// The generator's output function (David Stafford's variant 13 of MurmurHash3's finaliser).
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_generator_s() {
        // The first outputs for state 1234567 in the reference implementation's test.
        let mut draws = Draws { state: 1_234_567 };
        let bits: Vec<u64> = (0..5).map(|_| draws.bits()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(bits, expected);
    }

    #[test]
    fn draws_are_uniform_and_by_weight() {
        let mut draws = Draws::of(&[1, 2]);
        let mut counts = [0_i32; 5];
        (0..50_000).for_each(|_| counts[draws.below(5)] += 1);
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 400), "{counts:?}");
        let heavy = (0..10_000).filter(|_| draws.weighted(&[(0, 1.0), (1, 3.0)]) == 1).count();
        assert!((7_300..7_700).contains(&heavy), "{heavy}");
        assert_ne!(Draws::of(&[1, 2]).bits(), Draws::of(&[2, 1]).bits());
    }
}
