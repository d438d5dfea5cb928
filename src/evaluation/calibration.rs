//! How much must be added to the logit of `[IMG]` so that photos come as often as is wanted?
//!
//! What share of its turns a bot should spend on photos is its operator's choice, not a property of
//! the data that it learned from. The model's own probability of a photo, at the position of a reply
//! where it is largest, gives the rate at any bias without writing the replies anew: a bias adds to
//! the log-odds.

/// Of drawn replies, the share with a photo when `bias` is added to the logit of `[IMG]`:
/// `probabilities` are the unbiased `P([IMG])` of every decision.
pub fn sharing_rate(probabilities: &[f64], bias: f64) -> f64 {
    let biased = probabilities.iter().map(|&p| {
        // p eᵇ / (1 − p + p eᵇ), as it stays finite.
        let odds = p.ln() - (-p).ln_1p() + bias;
        1.0 / (1.0 + (-odds).exp())
    });
    biased.sum::<f64>() / probabilities.len() as f64
}

/// The bias at which photos come at `rate`; `None` where no finite one does: without decisions, at a
/// rate of 0 or 1 or beyond, or where too many probabilities are 0 or 1.
pub fn share_bias(probabilities: &[f64], rate: f64) -> Option<f64> {
    /// Beyond e⁶⁴ to 1 no probability of float32 differs.
    const BIAS_MAX: f64 = 64.0;
    let reached = |bias| sharing_rate(probabilities, bias) >= rate;
    let possible = rate > 0.0 && rate < 1.0 && !probabilities.is_empty();
    if !possible || reached(-BIAS_MAX) || !reached(BIAS_MAX) {
        return None;
    }
    let (mut low, mut high) = (-BIAS_MAX, BIAS_MAX);
    // The rate grows with the bias; 60 halvings leave less than a float64 can tell.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if reached(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn a_bias_adds_to_the_log_odds() {
        near(sharing_rate(&[0.2, 0.6], 0.0), 0.4);
        // Odds of 1/4 and 3/2, doubled: 1/2 and 3, so 1/3 and 3/4.
        near(sharing_rate(&[0.2, 0.6], 2.0_f64.ln()), f64::midpoint(1.0 / 3.0, 0.75));
        near(sharing_rate(&[0.0, 1.0], 5.0), 0.5);
    }

    #[test]
    fn the_bias_gives_the_rate() {
        near(share_bias(&[0.5], 0.9).unwrap(), 9.0_f64.ln());
        let probabilities = [1e-6, 0.01, 0.2, 0.7, 0.999];
        for rate in [0.01, 0.3, 0.38181, 0.95] {
            near(sharing_rate(&probabilities, share_bias(&probabilities, rate).unwrap()), rate);
        }
    }

    #[test]
    fn what_no_bias_reaches_has_none() {
        assert_eq!(share_bias(&[], 0.5), None);
        assert_eq!(share_bias(&[0.0, 1.0, 0.0], 0.5), None);
        for rate in [0.0, 1.0, -0.1, 1.1] {
            assert_eq!(share_bias(&[0.3, 0.4], rate), None, "{rate}");
        }
    }
}
