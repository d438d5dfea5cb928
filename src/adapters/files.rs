//! What both formats have in common: pairs of matrices in a safetensors file that names its base.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::names::Naming;
use super::settings::LoraSettings;
use super::{AdapterError, Base};
use crate::nn::Lora;
use crate::torch::{Parameters, SaveKind, Weights, write_safetensors};

/// Where a file's header keeps the fingerprint of its base.
const BASE: &str = "shutterbug.base";

/// Refuses a file whose header names another base.
pub(super) fn check_base(
    trained_on: Option<&str>,
    path: &Path,
    base: &Base,
) -> Result<(), AdapterError> {
    match trained_on {
        Some(trained_on) if trained_on != base.fingerprint => Err(AdapterError::OtherBase {
            path: path.to_owned(),
            trained_on: trained_on.to_owned(),
            base: base.fingerprint.clone(),
        }),
        _ => Ok(()),
    }
}

/// The header's key, for `Checkpoint::metadata`.
pub(super) fn base_key() -> &'static str {
    BASE
}

/// Pairs `….lora_A.weight [r, in]` of `stored` with `….lora_B.weight [out, r]` and holds both
/// against the base's `….weight [out, in]`.
pub(super) fn read_layers<'a>(
    weights: &Weights,
    stored: impl IntoIterator<Item = (&'a String, &'a Vec<i64>)>,
    path: &Path,
    base: &Base,
    naming: Naming,
    settings: &LoraSettings,
) -> Result<HashMap<String, Lora>, AdapterError> {
    let mut layers = HashMap::new();
    for (key, a_shape) in stored {
        let Some(layer) = key.strip_suffix(".lora_A.weight") else { continue };
        let (name, shape) = of_base(layer, path, base, naming)?;
        let [outputs, inputs] = shape else {
            return Err(foreign(layer, path));
        };
        let rank = a_shape.first().copied().unwrap_or(0);
        let lora = Lora {
            a: weights.tensor(key, &[rank, *inputs])?,
            b: weights.tensor(&format!("{layer}.lora_B.weight"), &[*outputs, rank])?,
            scale: settings.scale(rank),
        };
        layers.insert(name, lora);
    }
    Ok(layers)
}

/// The checkpoint's name of the module that the file calls `stored`, and its weight's shape.
pub(super) fn of_base<'a>(
    stored: &str,
    path: &Path,
    base: &'a Base,
    naming: Naming,
) -> Result<(String, &'a [i64]), AdapterError> {
    let name = naming.checkpoint_name(stored).unwrap_or_else(|| stored.to_owned());
    match base.shapes.get(&format!("{name}.weight")) {
        Some(shape) => Ok((name, shape)),
        None => Err(foreign(stored, path)),
    }
}

fn foreign(stored: &str, path: &Path) -> AdapterError {
    AdapterError::Foreign { path: path.to_owned(), layer: stored.to_owned() }
}

/// Writes `tensors` to `path`, in float32 and with the base's fingerprint, making its folder.
pub(super) fn write_tensors(
    path: &Path,
    tensors: &Parameters,
    base: &Base,
    metadata: &[(&str, &str)],
) -> Result<(), AdapterError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|source| AdapterError::Io { path: folder.to_owned(), source })?;
    }
    let mut header = vec![(BASE, base.fingerprint.as_str())];
    header.extend(metadata);
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    Ok(write_safetensors(path, named, SaveKind::Float32, &header)?)
}
