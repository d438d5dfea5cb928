//! How fast memory is read: what decoding, which reads every weight once a token, can't exceed.

use std::array::from_fn;
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::torch::{Compute, linear};

/// Far beyond any cache.
const SWEPT_BYTES: usize = 1 << 30;
const SWEEPS: usize = 5;

/// A sweep adds up this many words of every stream in turn.
const WORDS: usize = 16;

pub(super) fn run(compute: Compute, threads: usize) -> Value {
    json!({ "bytes_per_s": bytes_per_s(compute, threads) })
}

/// The best rate at which all of a large buffer is read, in bytes a second.
pub(super) fn bytes_per_s(compute: Compute, threads: usize) -> f64 {
    match compute.device {
        Device::Cpu => of_the_cpu(threads),
        _ => of_the_device(compute.device),
    }
}

/// Every thread sums up its share of the buffer, as one stream of reads or as several: how many
/// suit a processor best differs.
fn of_the_cpu(threads: usize) -> f64 {
    let share = SWEPT_BYTES / size_of::<u64>() / threads / 64 * 64;
    let buffer = vec![1u64; share * threads];
    let sweep = |sum: fn(&[u64]) -> u64| {
        fastest(buffer.len() * size_of::<u64>(), || {
            std::thread::scope(|scope| {
                for part in buffer.chunks(share) {
                    scope.spawn(move || black_box(sum(part)));
                }
            });
        })
    };
    let swept = [sum::<1>, sum::<2>, sum::<4>, sum::<8>].into_iter().map(sweep);
    swept.fold(multiplied(), f64::max)
}

/// The rate at which a matrix of the buffer's size is multiplied with one row: should that read
/// faster than the sweeps do, it is the better measure of the memory.
fn multiplied() -> f64 {
    const INPUTS: i64 = 4096;
    let outputs = SWEPT_BYTES as i64 / size_of::<f32>() as i64 / INPUTS;
    let weight = Tensor::ones([outputs, INPUTS], tch::kind::FLOAT_CPU);
    let row = Tensor::ones([1, INPUTS], tch::kind::FLOAT_CPU);
    fastest(SWEPT_BYTES, || {
        let _ = black_box(linear(&row, &weight, None));
    })
}

fn of_the_device(device: Device) -> f64 {
    let buffer = Tensor::ones([4 * SWEPT_BYTES as i64 / 4], (Kind::Float, device));
    fastest(4 * SWEPT_BYTES, || {
        black_box(buffer.sum(Kind::Float).double_value(&[]));
    })
}

/// Bytes a second of the fastest sweep.
fn fastest(bytes: usize, sweep: impl Fn()) -> f64 {
    sweep();
    let seconds = (0..SWEEPS).map(|_| {
        let begun = Instant::now();
        sweep();
        begun.elapsed().as_secs_f64()
    });
    bytes as f64 / seconds.fold(f64::INFINITY, f64::min)
}

/// The sum of all words, read as `STREAMS` streams side by side.
fn sum<const STREAMS: usize>(words: &[u64]) -> u64 {
    let stream = words.len() / STREAMS / WORDS;
    let (blocks, rest) = words.as_chunks::<WORDS>();
    let mut streams: [_; STREAMS] = from_fn(|first| blocks[first * stream..][..stream].iter());
    let mut sums = [0u64; WORDS];
    for _ in 0..stream {
        for block in streams.iter_mut().filter_map(Iterator::next) {
            for (sum, word) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_add(*word);
            }
        }
    }
    let beyond = blocks[STREAMS * stream..].as_flattened();
    beyond.iter().chain(rest).chain(&sums).copied().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_reads_every_word() {
        for length in [0, 15, 16, 129, 1000] {
            let words: Vec<u64> = (0..length).map(|word| word * word + 1).collect();
            let expected: u64 = words.iter().sum();
            let sums = [sum::<1>(&words), sum::<2>(&words), sum::<4>(&words), sum::<8>(&words)];
            assert_eq!(sums, [expected; 4], "{length}");
        }
    }
}
