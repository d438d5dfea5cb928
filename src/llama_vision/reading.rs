//! Which keys each position of a batch attends to in the cross-attention layers.
//!
//! Every run of positions that sees the same photos attends to a slice of their keys without any
//! mask: nothing of size positions × photo positions is ever built.
//!
//! Axes in names: b sequence, t position, s photo position, d width, h query head, g key head, e
//! head width.

use std::ops::Range;

use tch::Tensor;

use super::sight::sights;
use crate::nn::{Mask, attend};

/// What the perceptron made of one photo.
#[derive(Debug)]
pub struct SeenPhoto {
    /// `[tiles_max · positions, d]` in the decoder's width and the running dtype; empty tiles
    /// included.
    pub states_sd: Tensor,
    /// Positions of the tiles that show something; they come first.
    pub shown: i64,
}

impl Clone for SeenPhoto {
    /// Shares the states.
    fn clone(&self) -> Self {
        Self { states_sd: self.states_sd.shallow_clone(), shown: self.shown }
    }
}

/// A run of one sequence's positions and the slices of keys that it attends to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    positions: i64,
    keys: Vec<Range<i64>>,
}

/// How one sequence of a batch reads the photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// In order, covering all positions. Sequences without a photo have one run without keys.
    runs: Vec<Run>,
    /// Positions before the first photo, padding included.
    blind: i64,
}

impl Reading {
    /// For a sequence of `length` tokens after `padding` positions, whose photo tokens stand at
    /// `photo_positions` (counted without the padding). `photos` are its own; their keys start at
    /// `first_key`.
    pub(super) fn new(
        length: usize,
        padding: usize,
        photo_positions: &[usize],
        photos: &[SeenPhoto],
        first_key: i64,
    ) -> Self {
        let mut all = Vec::with_capacity(photos.len());
        let mut end = first_key;
        for photo in photos {
            let positions = photo.states_sd.size()[0];
            all.push(end..end + photo.shown);
            end += positions;
        }
        let mut runs: Vec<Run> = sights(photo_positions, length)
            .into_iter()
            .map(|sight| Run {
                positions: sight.positions.len() as i64,
                keys: match &all[sight.photos] {
                    [] if photos.is_empty() => Vec::new(),
                    [] => vec![first_key..end],
                    seen => joined(seen),
                },
            })
            .collect();
        let blind = (padding + photo_positions.first().copied().unwrap_or(length)) as i64;
        match runs.first_mut() {
            Some(first) if photo_positions.first() != Some(&0) => first.positions += padding as i64,
            _ if padding > 0 => {
                let everything = if photos.is_empty() { Vec::new() } else { vec![first_key..end] };
                runs.insert(0, Run { positions: padding as i64, keys: everything });
            }
            _ => {}
        }
        Self { runs, blind }
    }

    /// Attention of one sequence's `query [1, h, t, e]` to its slices of `key` and `value
    /// [1, g, s, e]`; zero where a sequence has no photo.
    pub(super) fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
        let mut first = 0;
        let runs: Vec<Tensor> = self
            .runs
            .iter()
            .map(|run| {
                let query = query.narrow(2, first, run.positions);
                first += run.positions;
                match slices(&run.keys, key, value) {
                    Some((key, value)) => attend(&query, &key, &value, Mask::None),
                    None => query.zeros_like(),
                }
            })
            .collect();
        Tensor::cat(&runs, 2)
    }

    /// The keys and values that the last position sees, and with it all that follow.
    pub(super) fn last(&self, key: &Tensor, value: &Tensor) -> Option<(Tensor, Tensor)> {
        slices(&self.runs.last()?.keys, key, value)
    }
}

/// Neighbouring ranges become one, so that a slice stays a view.
fn joined(ranges: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut joined: Vec<Range<i64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    joined
}

fn slices(ranges: &[Range<i64>], key: &Tensor, value: &Tensor) -> Option<(Tensor, Tensor)> {
    let slice = |x: &Tensor, range: &Range<i64>| x.narrow(2, range.start, range.end - range.start);
    match ranges {
        [] => None,
        [range] => Some((slice(key, range), slice(value, range))),
        ranges => {
            let all = |x| {
                let slices: Vec<Tensor> = ranges.iter().map(|range| slice(x, range)).collect();
                Tensor::cat(&slices, 2)
            };
            Some((all(key), all(value)))
        }
    }
}

/// `[b, t, 1]`: 0 for positions before a sequence's first photo and 1 for the others, like
/// `like`'s dtype and device; `None` where it would be 1 throughout.
pub(super) fn seeing(readings: &[Reading], length: i64, like: &Tensor) -> Option<Tensor> {
    if readings.iter().all(|reading| reading.blind == 0) {
        return None;
    }
    let blind: Vec<i64> = readings.iter().map(|reading| reading.blind).collect();
    let blind_b11 = Tensor::from_slice(&blind).view([-1, 1, 1]);
    let positions_1t1 = Tensor::arange(length, tch::kind::INT64_CPU).view([1, -1, 1]);
    let seeing = positions_1t1.greater_equal_tensor(&blind_b11);
    Some(seeing.to_device(like.device()).to_kind(like.kind()))
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn photo(positions: i64, shown: i64) -> SeenPhoto {
        SeenPhoto {
            states_sd: Tensor::zeros([positions, 2], (Kind::Float, tch::Device::Cpu)),
            shown,
        }
    }

    fn runs(reading: &Reading) -> Vec<(i64, Vec<Range<i64>>)> {
        reading.runs.iter().map(|run| (run.positions, run.keys.clone())).collect()
    }

    #[test]
    fn runs_name_slices_of_their_own_photos() {
        let photos = [photo(8, 4), photo(8, 8), photo(8, 2)];
        let reading = Reading::new(9, 2, &[1, 4, 5], &photos, 100);
        assert_eq!(
            runs(&reading),
            [(3, vec![100..124]), (3, vec![100..104]), (1, vec![108..116]), (4, vec![108..118]),]
        );
        assert_eq!(reading.blind, 3);
    }

    #[test]
    fn padding_before_a_leading_photo_is_a_run_of_its_own() {
        let reading = Reading::new(3, 2, &[0], &[photo(8, 4)], 0);
        assert_eq!(runs(&reading), [(2, vec![0..8]), (3, vec![0..4])]);
        assert_eq!(reading.blind, 2);
    }

    #[test]
    fn without_a_photo_nothing_is_attended_to() {
        let reading = Reading::new(3, 2, &[], &[], 0);
        assert_eq!(runs(&reading), [(5, vec![])]);
        let query = Tensor::ones([1, 2, 5, 4], (Kind::Float, tch::Device::Cpu));
        let key = Tensor::ones([1, 1, 3, 4], (Kind::Float, tch::Device::Cpu));
        assert_eq!(reading.attend(&query, &key, &key), query.zeros_like());
        assert!(reading.last(&key, &key).is_none());
    }
}
