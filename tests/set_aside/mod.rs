//! Sets the tensors of a model aside one by one, so that none could be forgotten unnoticed.

use std::collections::BTreeMap;

use tch::{Tensor, no_grad};

/// What parity tests allow.
const TOLERANCE: f64 = 1e-4;
/// What a tensor must be worth at least.
const WORTH_MIN: f64 = 20.0 * TOLERANCE;

/// Sets each of `tensors`, which a model computes with, alone to what it would be if nobody had read
/// it: weights of norms to one, everything else to zero. Fails unless one of the `outputs` of the
/// model, for which the tensor's name is given (none for the whole), moves by far more than parity tests allow; or, for
/// those that `cancel` by mathematics, if one moves at all.
pub(crate) fn every_tensor_matters(
    model: &str,
    tensors: &BTreeMap<String, Tensor>,
    cancels: impl Fn(&str) -> bool,
    mut outputs: impl FnMut(&str) -> Vec<Tensor>,
) {
    assert!(!tensors.is_empty(), "{model} has no tensors");
    // Tensors are tiny: more threads would only wait for each other.
    tch::set_num_threads(1);
    let mut wrong = Vec::new();
    let with = no_grad(|| outputs(""));
    for (name, tensor) in tensors {
        let is_norm = name.contains("norm") && name.ends_with("weight") && tensor.dim() == 1;
        let kept = tensor.detach().copy();
        let _ = no_grad(|| tensor.shallow_clone().fill_(if is_norm { 1.0 } else { 0.0 }));
        let without = no_grad(|| outputs(name));
        no_grad(|| tensor.shallow_clone().copy_(&kept));
        let moves = with
            .iter()
            .zip(&without)
            .map(|(with, without)| (with - without).abs().max().double_value(&[]));
        let worth = moves.fold(0.0, f64::max);
        if cancels(name) {
            if worth > TOLERANCE {
                wrong.push(format!("{name} should cancel, but is worth {worth}"));
            }
        } else if worth < WORTH_MIN {
            wrong.push(format!("{name} is worth {worth}"));
        }
    }
    let again = no_grad(|| outputs(""));
    assert!(again == with, "{model} was not put together again");
    assert!(wrong.is_empty(), "{model}:\n{}", wrong.join("\n"));
}
