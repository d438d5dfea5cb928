//! The part of PEFT's LoRA configuration that says how an adapter counts.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::AdapterError;
use super::names::Naming;
use crate::nn::Adapter;

/// Named without a table, trained tokens are the input embedding's.
const TOKEN_TABLE_DEFAULT: &str = "embed_tokens";

/// As read. Unknown keys are of no consequence here: PEFT adds some with every release.
#[derive(Deserialize)]
pub(super) struct LoraSettings {
    #[serde(default)]
    lora_alpha: Option<f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    alpha_pattern: HashMap<String, f64>,
    #[serde(default = "no_bias")]
    bias: String,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    trainable_token_indices: Option<TokenIndices>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIndices {
    OfEmbedding(Vec<i64>),
    ByTable(BTreeMap<String, Vec<i64>>),
}

fn no_bias() -> String {
    "none".to_owned()
}

impl LoraSettings {
    /// The same settings, if this program can do what they ask for.
    pub(super) fn checked(self, path: &Path) -> Result<Self, AdapterError> {
        let unsupported = if self.use_dora {
            Some("DoRA")
        } else if !self.alpha_pattern.is_empty() {
            Some("alpha_pattern")
        } else if self.bias != "none" {
            Some("trained biases")
        } else if self.modules_to_save.as_ref().is_some_and(|modules| !modules.is_empty()) {
            Some("modules trained whole")
        } else {
            None
        };
        match unsupported {
            None => Ok(self),
            Some(what) => {
                Err(AdapterError::Unsupported { path: path.to_owned(), what: what.to_owned() })
            }
        }
    }

    /// How strongly an update of this rank counts: α / r, or α / √r where it is rank-stabilised;
    /// without α, 1.
    pub(super) fn scale(&self, rank: i64) -> f64 {
        let rank = rank as f64;
        let alpha = self.lora_alpha.unwrap_or(rank);
        if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }
    }

    /// Ids of the rows that were trained of the table that Python calls `module`.
    pub(super) fn token_ids(&self, module: &str) -> &[i64] {
        let is_named = |name: &str| module == name || module.ends_with(&format!(".{name}"));
        match &self.trainable_token_indices {
            Some(TokenIndices::OfEmbedding(ids)) if is_named(TOKEN_TABLE_DEFAULT) => ids,
            Some(TokenIndices::ByTable(tables)) => tables
                .iter()
                .find(|(name, _)| is_named(name))
                .map_or(&[], |(_, ids)| ids.as_slice()),
            _ => &[],
        }
    }
}

/// PEFT's configuration of `adapter`, whose updates must all have one rank and one scale.
pub(super) fn describe(
    adapter: &Adapter,
    naming: Naming,
    dropout: f64,
    path: &Path,
) -> Result<Value, AdapterError> {
    let mut layers: Vec<&String> = adapter.layers.keys().collect();
    layers.sort();
    let mut factors: Vec<(i64, f64)> =
        adapter.layers.values().map(|lora| (lora.a.size()[0], lora.scale)).collect();
    factors.sort_by(|x, y| x.partial_cmp(y).unwrap_or(std::cmp::Ordering::Equal));
    factors.dedup();
    let [(rank, scale)] = factors[..] else {
        return Err(AdapterError::Unsupported {
            path: path.to_owned(),
            what: format!("{} different ranks and scales", factors.len()),
        });
    };
    let alpha = scale * rank as f64;
    // Whole numbers are written as such: PEFT declares an int.
    let alpha = if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) };
    let modules: Vec<String> = layers.iter().map(|name| naming.module(name)).collect();
    let tokens: BTreeMap<String, &[i64]> = adapter
        .rows
        .iter()
        .map(|(table, rows)| {
            let module = naming.module(table);
            let name = module.rsplit('.').next().unwrap_or_default().to_owned();
            (name, rows.ids.as_slice())
        })
        .collect();
    Ok(json!({
        "peft_type": "LORA",
        "task_type": null,
        "inference_mode": true,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": false,
        "use_rslora": false,
        "trainable_token_indices": if tokens.is_empty() { Value::Null } else { json!(tokens) },
    }))
}
