//! Gradients of whole models against sketches of the reference's: see `tests/parity/sketches.py`.

use std::collections::HashMap;
use std::path::Path;

use shutterbug::torch::{
    AdamW, FusedAdamW, Generator, Parameters, SaveKind, Weights, gradients, write_safetensors,
};
use tch::{Device, Kind, Tensor};

/// The coefficients of the reference's linear functions: cos 0, cos 1, …
pub(crate) fn wave(like: &Tensor) -> Tensor {
    let count = Tensor::arange(like.numel() as i64, (Kind::Double, Device::Cpu));
    count.cos().to_kind(Kind::Float).view(like.size().as_slice())
}

/// Differentiates `loss` by `parameters`.
pub(crate) fn differentiate(loss: &Tensor, parameters: &Parameters) -> Parameters {
    let tensors: Vec<&Tensor> = parameters.values().collect();
    let by_parameter = gradients(loss, &tensors).into_iter().zip(&tensors);
    let filled = by_parameter.map(|(found, of)| found.unwrap_or_else(|| of.zeros_like()));
    parameters.keys().cloned().zip(filled).collect()
}

/// Fails unless the gradients of all parameters are those of the reference: the same names, and
/// ‖g − g'‖ ≤ 1e-4 ‖g'‖, as far as rounding of the largest allows.
pub(crate) fn assert_same(case: &str, ours: &Parameters, file: &Path) {
    const DIRECTIONS: i64 = 8;
    let reference: HashMap<String, Tensor> =
        Tensor::read_safetensors(file).unwrap().into_iter().collect();
    assert_eq!(ours.len(), reference.len(), "{case}");
    let norm = |sketch: &Tensor| sketch.get(0).double_value(&[]);
    let largest = reference.values().map(norm).fold(0.0, f64::max);
    let mut wrong = Vec::new();
    for (name, gradient) in ours {
        let theirs = &reference[name];
        let flat = gradient.to_kind(Kind::Double).flatten(0, -1);
        let count = flat.numel() as i64;
        let directions = Generator::new(count as u64).randn(&[DIRECTIONS, count]);
        let products = directions.to_kind(Kind::Double).matmul(&flat);
        let distance = (products - theirs.narrow(0, 1, DIRECTIONS)).square().mean(Kind::Double);
        let distance = distance.sqrt().double_value(&[]);
        let allowed = 1e-4 * norm(theirs) + 1e-6 * largest;
        if distance.is_nan() || distance > allowed {
            wrong.push(format!("{case}: {name} is off by {distance} of {}", norm(theirs)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Gradients of `loss` in all of `parameters`, which must be float32 leaves, in a row.
pub(crate) fn flat_gradient(loss: &Tensor, parameters: &Parameters) -> Tensor {
    assert!(parameters.values().all(|it| it.kind() == Kind::Float && it.is_leaf()));
    let all = differentiate(loss, parameters);
    Tensor::cat(&all.values().map(|it| it.flatten(0, -1)).collect::<Vec<_>>(), 0)
}

/// Makes one step of AdamW down `loss`.
pub(crate) fn step(loss: &Tensor, parameters: &Parameters) {
    let tensors: Vec<&Tensor> = parameters.values().collect();
    let by_parameter = gradients(loss, &tensors);
    FusedAdamW::new(&tensors).step(&tensors, &by_parameter, &AdamW::default());
}

/// Writes all tensors of a model to one file.
pub(crate) fn save(weights: &Weights, file: &Path) {
    let tensors = weights.tensors();
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(file, named, SaveKind::Float32, &[]).unwrap();
}
