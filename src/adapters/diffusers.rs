//! diffusers' format: `pytorch_lora_weights.safetensors`, whose header keeps PEFT's configuration
//! with its keys below `transformer.`; files without it mean α = r.

use std::path::Path;

use serde_json::{Map, Value};

use super::files::{base_key, check_base, read_layers, write_tensors};
use super::names::Naming;
use super::settings::{LoraSettings, describe};
use super::{AdapterError, Base};
use crate::nn::Adapter;
use crate::torch::{Checkpoint, Compute, Parameters, Weights};

const NAMING: Naming = Naming::Diffusers;
const CONFIG: &str = "lora_adapter_metadata";
const PREFIX: &str = "transformer.";

pub(super) fn read(
    checkpoint: Checkpoint,
    path: &Path,
    base: &Base,
    compute: Compute,
) -> Result<Adapter, AdapterError> {
    check_base(checkpoint.metadata(base_key()), path, base)?;
    let settings = read_settings(&checkpoint, path)?;
    let stored = checkpoint.shapes();
    let weights = Weights::new(checkpoint, compute);
    let layers = read_layers(&weights, &stored, path, base, NAMING, &settings)?;
    weights.finish(&[])?;
    Ok(Adapter::of_layers(layers))
}

fn read_settings(checkpoint: &Checkpoint, path: &Path) -> Result<LoraSettings, AdapterError> {
    let json = |source| AdapterError::Json { path: path.to_owned(), source };
    let text = checkpoint.metadata(CONFIG).unwrap_or("{}");
    let all: Map<String, Value> = serde_json::from_str(text).map_err(json)?;
    let own: Map<String, Value> = all
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value)))
        .collect();
    let settings: LoraSettings = serde_json::from_value(own.into()).map_err(json)?;
    settings.checked(path)
}

/// Without the dropout of training: diffusers would go on with it when it draws.
pub(super) fn write(path: &Path, adapter: &Adapter, base: &Base) -> Result<(), AdapterError> {
    let tensors: Parameters =
        adapter.layers.iter().flat_map(|(name, lora)| NAMING.pair(name, lora)).collect();
    let config = describe(adapter, NAMING, 0.0, path)?;
    let prefixed: Map<String, Value> = config
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
        .collect();
    let config = Value::Object(prefixed).to_string();
    write_tensors(path, &tensors, base, &[(CONFIG, &config)])
}
