//! What changes from step to step, as pure functions of the step.

use std::f64::consts::PI;

use crate::config::{Bridge, OptimizerSettings, RateSchedule};

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Optimizer steps; at least 1.
    pub steps: u64,
    /// Optimizer steps of one pass over the data, a fraction; above 0.
    pub steps_per_epoch: f64,
}

impl Length {
    /// Of `epochs` passes over `examples` examples, or of so many `steps`, with `batch_examples` a
    /// step.
    pub fn new(examples: usize, batch_examples: usize, epochs: f64, steps: Option<u64>) -> Self {
        let steps_per_epoch = examples as f64 / batch_examples as f64;
        let by_epochs = (epochs * steps_per_epoch).ceil().max(1.0) as u64;
        Self { steps: steps.unwrap_or(by_epochs), steps_per_epoch }
    }

    /// Passes over the data before `step`.
    pub fn epoch(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch
    }
}

/// The learning rate of `step`, counted from 0: it rises in a line to its peak, which the last step
/// of the warm-up reaches, and then does as the schedule says, reaching its end at the last step.
pub fn learning_rate(settings: &OptimizerSettings, length: Length, step: u64) -> f64 {
    let (peak, warmup) = (settings.learning_rate, settings.warmup_steps);
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    let rest = length.steps.saturating_sub(warmup).saturating_sub(1).max(1);
    let gone = ((step - warmup) as f64 / rest as f64).min(1.0);
    let left = match settings.schedule {
        RateSchedule::Constant => return peak,
        RateSchedule::Linear => 1.0 - gone,
        RateSchedule::Cosine => f64::midpoint(1.0, (PI * gone).cos()),
    };
    let end = settings.learning_rate_end;
    peak * (end + (1.0 - end) * left)
}

/// The Gumbel-softmax's τ at `epoch`: it falls geometrically, from the first to the last value, and
/// is constant after.
pub fn temperature(bridge: &Bridge, epoch: f64) -> f64 {
    let (first, last) = (bridge.temperature_first, bridge.temperature_last);
    if epoch >= bridge.temperature_epochs {
        return last;
    }
    first * (last / first).powf(epoch / bridge.temperature_epochs)
}

/// The share of photos that the model's own caption drives at `epoch`: none while gold captions
/// reign, then growing in a line.
pub fn own_caption_share(bridge: &Bridge, epoch: f64) -> f64 {
    let since = epoch - bridge.gold_epochs;
    if since < 0.0 {
        return 0.0;
    }
    if since >= bridge.own_caption_epochs {
        return bridge.own_caption_share;
    }
    bridge.own_caption_share * since / bridge.own_caption_epochs
}

/// The decay of the running mean after `updates` updates: small at first, so that the initial
/// values are soon forgotten, then `decay`.
pub fn mean_decay(decay: f64, updates: u64) -> f64 {
    decay.min((1 + updates) as f64 / (10 + updates) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, Training};

    fn settings(overrides: &[&str]) -> Training {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Training::load(Preset::Default, None, &overrides).unwrap()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} {expected}");
    }

    #[test]
    fn a_run_is_as_long_as_its_epochs_or_its_steps() {
        assert_eq!(Length::new(100, 32, 3.0, None).steps, 10);
        assert_eq!(Length::new(100, 32, 3.0, Some(4)).steps, 4);
        assert_eq!(Length::new(3, 32, 0.1, None).steps, 1);
        close(Length::new(96, 32, 3.0, None).epoch(4), 4.0 / 3.0);
    }

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_end() {
        let length = Length { steps: 12, steps_per_epoch: 4.0 };
        for (schedule, middle) in [("constant", 1.0), ("linear", 0.6), ("cosine", 0.6)] {
            let schedule = format!("optimizer.schedule={schedule}");
            let settings = settings(&[
                "optimizer.learning_rate=2",
                "optimizer.warmup_steps=3",
                "optimizer.learning_rate_end=0.2",
                &schedule,
            ]);
            let rate = |step| learning_rate(&settings.optimizer, length, step);
            for (step, expected) in [(0, 2.0 / 3.0), (1, 4.0 / 3.0), (2, 2.0), (3, 2.0)] {
                close(rate(step), expected);
            }
            close(rate(7), 2.0 * middle);
            close(rate(11), if middle < 1.0 { 0.4 } else { 2.0 });
            close(rate(99), rate(11));
        }
    }

    #[test]
    fn the_temperature_falls_by_the_same_factor_every_step() {
        let bridge = settings(&[]).bridge;
        close(temperature(&bridge, 0.0), 1.0);
        close(temperature(&bridge, 1.5), 1e-2);
        close(temperature(&bridge, 3.0), 1e-4);
        close(temperature(&bridge, 30.0), 1e-4);
        let factors: Vec<f64> = (0..6)
            .map(|i| temperature(&bridge, 0.5 * f64::from(i)))
            .collect::<Vec<_>>()
            .windows(2)
            .map(|pair| pair[1] / pair[0])
            .collect();
        assert!(factors.iter().all(|factor| (factor / factors[0] - 1.0).abs() < 1e-9));
    }

    #[test]
    fn own_captions_come_after_the_gold_ones_and_grow() {
        let bridge = settings(&[]).bridge;
        for (epoch, share) in [(0.0, 0.0), (0.99, 0.0), (1.0, 0.0), (2.0, 0.25), (3.0, 0.5)] {
            assert!((own_caption_share(&bridge, epoch) - share).abs() < 1e-12, "{epoch}");
        }
        let at_once = settings(&["bridge.gold_epochs=0", "bridge.own_caption_epochs=0"]).bridge;
        close(own_caption_share(&at_once, 0.0), 0.5);
    }

    #[test]
    fn the_running_mean_forgets_its_beginning() {
        close(mean_decay(0.999, 0), 0.1);
        close(mean_decay(0.999, 90), 0.91);
        close(mean_decay(0.999, 1_000_000), 0.999);
    }
}
