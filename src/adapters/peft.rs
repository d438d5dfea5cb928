//! PEFT's format: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Trained token rows are stored as `….token_adapter.trainable_tokens_delta`. For all their name
//! they are the rows themselves: PEFT begins them with the base's and puts them in its place
//! (peft, tuners/trainable_tokens/layer.py).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::files::{base_key, check_base, of_base, read_layers, write_tensors};
use super::names::Naming;
use super::settings::{LoraSettings, describe};
use super::{AdapterError, Base};
use crate::nn::{Adapter, TokenRows};
use crate::torch::{Checkpoint, Compute, Parameters, Weights};

const NAMING: Naming = Naming::Peft;
const CONFIG: &str = "adapter_config.json";
const ROWS: &str = ".token_adapter.trainable_tokens_delta";

pub(super) fn read(
    checkpoint: Checkpoint,
    path: &Path,
    base: &Base,
    compute: Compute,
) -> Result<Adapter, AdapterError> {
    check_base(checkpoint.metadata(base_key()), path, base)?;
    let config = path.with_file_name(CONFIG);
    let text =
        fs::read(&config).map_err(|source| AdapterError::Io { path: config.clone(), source })?;
    let settings: LoraSettings = serde_json::from_slice(&text)
        .map_err(|source| AdapterError::Json { path: config.clone(), source })?;
    let settings = settings.checked(&config)?;
    let stored = checkpoint.shapes();
    let weights = Weights::new(checkpoint, compute);
    let layers = read_layers(&weights, &stored, path, base, NAMING, &settings)?;
    let mut rows = HashMap::new();
    for (key, shape) in &stored {
        let Some(table) = key.strip_suffix(ROWS) else { continue };
        let (name, base_shape) = of_base(table, path, base, NAMING)?;
        let ids = settings.token_ids(&NAMING.module(&name));
        let trained = shape.first().copied().unwrap_or(0);
        let fits = base_shape.first().is_some_and(|&n| ids.iter().all(|id| (0..n).contains(id)));
        if trained != ids.len() as i64 || !fits {
            return Err(AdapterError::Rows {
                path: path.to_owned(),
                table: table.to_owned(),
                rows: trained,
                ids: ids.len(),
            });
        }
        let width = base_shape.last().copied().unwrap_or(0);
        let rows_kd = weights.tensor(key, &[trained, width])?;
        rows.insert(name, TokenRows { ids: ids.to_vec(), rows_kd });
    }
    weights.finish(&[])?;
    Ok(Adapter { layers, rows, dropout: None })
}

pub(super) fn write(
    path: &Path,
    adapter: &Adapter,
    base: &Base,
    dropout: f64,
) -> Result<(), AdapterError> {
    let mut tensors: Parameters =
        adapter.layers.iter().flat_map(|(name, lora)| NAMING.pair(name, lora)).collect();
    for (table, rows) in &adapter.rows {
        let stored = NAMING.stored_name(&NAMING.module(table));
        tensors.insert(format!("{stored}{ROWS}"), rows.rows_kd.shallow_clone());
    }
    let mut config = describe(adapter, NAMING, dropout, path)?;
    if let Value::Object(entries) = &mut config {
        entries.insert("base_model_name_or_path".to_owned(), json!(base.name));
    }
    write_tensors(path, &tensors, base, &[])?;
    let file = path.with_file_name(CONFIG);
    fs::write(&file, format!("{config:#}\n"))
        .map_err(|source| AdapterError::Io { path: file, source })
}
