//! Drawing a token from the most probable ones. Pure.

/// The smallest set of tokens whose probability reaches `top_p` (Holtzman et al., 2020), the most
/// probable first; at least one. `probabilities` sum to about 1.
fn nucleus(probabilities: &[f32], top_p: f64) -> Vec<usize> {
    let falling =
        |&a: &usize, &b: &usize| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b));
    let mut tokens: Vec<usize> = (0..probabilities.len()).collect();
    // Most nuclei are small: sort only as many as it takes.
    let mut sorted = 0;
    let mut wanted = 64;
    let mut mass = 0.0;
    while sorted < tokens.len() {
        let end = wanted.min(tokens.len());
        if end < tokens.len() {
            tokens[sorted..].select_nth_unstable_by(end - sorted, falling);
        }
        tokens[sorted..end].sort_unstable_by(falling);
        for place in sorted..end {
            mass += f64::from(probabilities[tokens[place]]);
            if mass >= top_p {
                tokens.truncate(place + 1);
                return tokens;
            }
        }
        sorted = end;
        wanted *= 8;
    }
    tokens
}

/// The token at `uniform` (in [0, 1)) of the nucleus' distribution.
pub(super) fn draw(probabilities: &[f32], top_p: f64, uniform: f64) -> usize {
    let tokens = nucleus(probabilities, top_p);
    let mass: f64 = tokens.iter().map(|&token| f64::from(probabilities[token])).sum();
    let mut left = uniform * mass;
    for &token in &tokens {
        left -= f64::from(probabilities[token]);
        if left < 0.0 {
            return token;
        }
    }
    // Rounding used up the last token's share; an impossible one is never at the front.
    tokens[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROBABILITIES: [f32; 5] = [0.125, 0.5, 0.0, 0.25, 0.125];

    #[test]
    fn the_nucleus_is_the_smallest_set_that_reaches_its_mass() {
        assert_eq!(nucleus(&PROBABILITIES, 0.4), [1]);
        assert_eq!(nucleus(&PROBABILITIES, 0.5), [1]);
        assert_eq!(nucleus(&PROBABILITIES, 0.51), [1, 3]);
        assert_eq!(nucleus(&PROBABILITIES, 0.8), [1, 3, 0]);
        assert_eq!(nucleus(&PROBABILITIES, 1.0), [1, 3, 0, 4]);
    }

    #[test]
    fn draws_follow_the_shares_within_the_nucleus() {
        let drawn = |uniform| draw(&PROBABILITIES, 0.7, uniform);
        assert_eq!([drawn(0.0), drawn(0.66), drawn(0.67), drawn(0.999)], [1, 1, 3, 3]);
    }

    proptest! {
        #[test]
        fn partial_sorting_equals_sorting(
            weights in proptest::collection::vec(0.0f32..1.0, 1..700),
            top_p in 0.01f64..1.0,
        ) {
            let sum: f32 = weights.iter().sum::<f32>().max(1e-3);
            let probabilities: Vec<f32> = weights.iter().map(|weight| weight / sum).collect();
            let mut sorted: Vec<usize> = (0..probabilities.len()).collect();
            sorted.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
            let mut mass = 0.0;
            let count = sorted
                .iter()
                .take_while(|&&token| {
                    let before = mass;
                    mass += f64::from(probabilities[token]);
                    before < top_p
                })
                .count();
            prop_assert_eq!(nucleus(&probabilities, top_p), &sorted[..count]);
        }
    }
}
