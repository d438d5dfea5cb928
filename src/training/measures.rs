//! Plain figures of a step, added up over its micro-steps.

use std::collections::BTreeMap;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// A weighted mean.
    Mean {
        /// Sum of the values, each times its weight.
        sum: f64,
        /// Sum of the weights.
        weight: f64,
    },
    /// Single values whose spread matters.
    Samples(Vec<f64>),
}

/// Figures by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures(BTreeMap<&'static str, Measure>);

impl Measures {
    /// Adds to a mean: `sum` over `weight` things (tokens, photos, …).
    ///
    /// # Panics
    /// If `name` was used for samples.
    pub fn add(&mut self, name: &'static str, sum: f64, weight: f64) {
        match self.0.entry(name).or_insert(Measure::Mean { sum: 0.0, weight: 0.0 }) {
            Measure::Mean { sum: sums, weight: weights } => {
                *sums += sum;
                *weights += weight;
            }
            Measure::Samples(_) => panic!("{name} is a measure of samples"),
        }
    }

    /// Adds a single value.
    ///
    /// # Panics
    /// If `name` was used for a mean.
    pub fn sample(&mut self, name: &'static str, value: f64) {
        match self.0.entry(name).or_insert(Measure::Samples(Vec::new())) {
            Measure::Samples(samples) => samples.push(value),
            Measure::Mean { .. } => panic!("{name} is a measure of a mean"),
        }
    }

    /// The measure of that name.
    pub fn get(&self, name: &str) -> Option<&Measure> {
        self.0.get(name)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        for (name, measure) in other.0 {
            match measure {
                Measure::Mean { sum, weight } => self.add(name, sum, weight),
                Measure::Samples(samples) => {
                    for value in samples {
                        self.sample(name, value);
                    }
                }
            }
        }
    }

    /// The figures by name: means as they are called, samples as `name_median`, `name_mean` and
    /// `name_max`. What has no weight is left out.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        for (&name, measure) in &self.0 {
            match measure {
                Measure::Mean { sum, weight } if *weight > 0.0 => {
                    figures.insert(name.to_owned(), sum / weight);
                }
                Measure::Samples(samples) if !samples.is_empty() => {
                    let mut sorted = samples.clone();
                    sorted.sort_by(f64::total_cmp);
                    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
                    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
                    figures.insert(format!("{name}_median"), f64::midpoint(low, high));
                    figures.insert(format!("{name}_mean"), mean);
                    figures.insert(format!("{name}_max"), sorted[sorted.len() - 1]);
                }
                Measure::Mean { .. } | Measure::Samples(_) => {}
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_weighted_and_samples_keep_their_spread() {
        let mut first = Measures::default();
        first.add("text_loss", 6.0, 2.0);
        first.sample("norm", 1.0);
        first.add("nothing", 0.0, 0.0);
        let mut second = Measures::default();
        second.add("text_loss", 2.0, 6.0);
        for value in [9.0, 2.0, 4.0] {
            second.sample("norm", value);
        }
        first.merge(second);
        let expected =
            [("norm_max", 9.0), ("norm_mean", 4.0), ("norm_median", 3.0), ("text_loss", 1.0)];
        let figures: Vec<_> = first.figures().into_iter().collect();
        assert_eq!(figures, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
