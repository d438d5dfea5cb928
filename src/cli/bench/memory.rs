//! How fast memory is read: what decoding, which reads every weight once a token, can't exceed.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::torch::{Compute, read_bytes_per_s};

pub(super) fn run(compute: Compute) -> anyhow::Result<Value> {
    Ok(json!({ "bytes_per_s": bytes_per_s(compute)? }))
}

/// The best rate at which all of a large buffer is read, in bytes a second.
pub(super) fn bytes_per_s(compute: Compute) -> anyhow::Result<f64> {
    match compute.device {
        Device::Cpu => read_bytes_per_s().context("there is no memory for the sweep"),
        _ => Ok(of_the_device(compute.device)),
    }
}

fn of_the_device(device: Device) -> f64 {
    const ELEMENTS: i64 = 1 << 30;
    let buffer = Tensor::ones([ELEMENTS], (Kind::Float, device));
    let sweep = || black_box(buffer.sum(Kind::Float).double_value(&[]));
    sweep();
    let seconds = (0..5).map(|_| {
        let begun = Instant::now();
        sweep();
        begun.elapsed().as_secs_f64()
    });
    (ELEMENTS * 4) as f64 / seconds.fold(f64::INFINITY, f64::min)
}
