//! Reads adapters in the formats that Python writes: PEFT's for the language model, diffusers' for
//! the image generator.
//!
//! ```text
//! adapter/
//!   llama/      adapter_config.json, adapter_model.safetensors (PEFT)
//!   diffusion/  pytorch_lora_weights.safetensors (diffusers)
//! ```
//!
//! Either folder may be absent.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ModelError;
use crate::nn::{Adapter, Lora};
use crate::torch::{Checkpoint, Compute, Weights};

/// Both halves of one adapter, resident beside the base weights.
pub(super) struct JointAdapter {
    pub(super) revision: String,
    pub(super) llama: Option<Adapter>,
    pub(super) diffusion: Option<Adapter>,
}

/// Names and shapes of a base's tensors, which an adapter's must fit.
type Shapes = BTreeMap<String, Vec<i64>>;

impl JointAdapter {
    /// Reads `folder` against the tensors of both bases.
    pub(super) fn read(
        folder: &Path,
        llama_base: &Shapes,
        diffusion_base: &Shapes,
        compute: Compute,
    ) -> Result<Self, ModelError> {
        let peft = folder.join("llama/adapter_model.safetensors");
        let lora = folder.join("diffusion/pytorch_lora_weights.safetensors");
        let mut revision = blake3::Hasher::new();
        let mut half = |file: &Path| -> Result<Option<Checkpoint>, ModelError> {
            if !file.is_file() {
                return Ok(None);
            }
            let checkpoint = Checkpoint::file(file)?;
            revision.update(checkpoint.fingerprint().as_bytes());
            Ok(Some(checkpoint))
        };
        let (peft_weights, lora_weights) = (half(&peft)?, half(&lora)?);
        if peft_weights.is_none() && lora_weights.is_none() {
            return Err(ModelError::Base {
                path: folder.to_owned(),
                reason: "it is no adapter: neither llama/adapter_model.safetensors nor \
                         diffusion/pytorch_lora_weights.safetensors is there"
                    .to_owned(),
            });
        }
        let llama = match peft_weights {
            None => None,
            Some(checkpoint) => {
                let scaling = Scaling::read(&folder.join("llama/adapter_config.json"))?;
                Some(read_layers(checkpoint, &peft, llama_base, llama_name, &scaling, compute)?)
            }
        };
        let diffusion = match lora_weights {
            None => None,
            Some(checkpoint) => {
                let scaling = Scaling::of_diffusers(&checkpoint, &lora)?;
                Some(read_layers(checkpoint, &lora, diffusion_base, mmdit_name, &scaling, compute)?)
            }
        };
        Ok(Self { revision: revision.finalize().to_hex()[..16].to_owned(), llama, diffusion })
    }
}

/// The published checkpoint's name of a layer that PEFT names after transformers' modules.
fn llama_name(peft: &str) -> Option<String> {
    let module = peft.strip_prefix("base_model.model.")?;
    Some(if let Some(rest) = module.strip_prefix("model.language_model.") {
        format!("language_model.model.{rest}")
    } else if module == "lm_head" {
        "language_model.lm_head".to_owned()
    } else {
        module.strip_prefix("model.")?.to_owned()
    })
}

/// The transformer's own name of a layer that diffusers puts below `transformer.`.
fn mmdit_name(diffusers: &str) -> Option<String> {
    diffusers.strip_prefix("transformer.").map(str::to_owned)
}

/// How strongly an update counts: α / r, or α / √r where it is rank-stabilised.
#[derive(Deserialize)]
struct Scaling {
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
}

fn no_bias() -> String {
    "none".to_owned()
}

impl Scaling {
    fn read(path: &Path) -> Result<Self, ModelError> {
        let text = fs::read(path).map_err(ModelError::io(path))?;
        let scaling: Self = serde_json::from_slice(&text)
            .map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
        scaling.checked(path)
    }

    /// diffusers keeps PEFT's configuration in the file's metadata, its keys below `transformer.`;
    /// files without it mean α = r.
    fn of_diffusers(checkpoint: &Checkpoint, path: &Path) -> Result<Self, ModelError> {
        let json = |source| ModelError::Json { path: path.to_owned(), source };
        let text = checkpoint.metadata("lora_adapter_metadata").unwrap_or("{}");
        let all: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(json)?;
        let own = all
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("transformer.")?.to_owned(), value)));
        let scaling: Self =
            serde_json::from_value(own.collect::<serde_json::Map<_, _>>().into()).map_err(json)?;
        scaling.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, ModelError> {
        let unsupported = if self.use_dora {
            Some("DoRA")
        } else if !self.alpha_pattern.is_empty() {
            Some("alpha_pattern")
        } else if self.bias != "none" {
            Some("trained biases")
        } else {
            None
        };
        match unsupported {
            None => Ok(self),
            Some(what) => Err(ModelError::Base {
                path: path.to_owned(),
                reason: format!("the adapter uses {what}, which is not supported; plain LoRA is"),
            }),
        }
    }

    fn of_rank(&self, rank: i64) -> f64 {
        let rank = rank as f64;
        let alpha = self.lora_alpha.unwrap_or(rank);
        if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }
    }
}

/// Pairs `….lora_A.weight [r, in]` with `….lora_B.weight [out, r]` and holds both against the
/// base's `….weight [out, in]`.
fn read_layers(
    checkpoint: Checkpoint,
    path: &Path,
    base: &Shapes,
    base_name: fn(&str) -> Option<String>,
    scaling: &Scaling,
    compute: Compute,
) -> Result<Adapter, ModelError> {
    let shapes = checkpoint.shapes();
    let weights = Weights::new(checkpoint, compute);
    let mut adapter = Adapter::default();
    for (key, a_shape) in &shapes {
        let Some(layer) = key.strip_suffix(".lora_A.weight") else { continue };
        let name = base_name(layer).unwrap_or_else(|| layer.to_owned());
        let Some([outputs, inputs]) = base.get(&format!("{name}.weight")).map(Vec::as_slice) else {
            return Err(foreign(path, layer));
        };
        let rank = a_shape.first().copied().unwrap_or(0);
        let lora = Lora {
            a: weights.tensor(key, &[rank, *inputs])?,
            b: weights.tensor(&format!("{layer}.lora_B.weight"), &[*outputs, rank])?,
            scale: scaling.of_rank(rank),
        };
        adapter.layers.insert(name, lora);
    }
    weights.finish(&[])?;
    Ok(adapter)
}

fn foreign(path: &Path, layer: &str) -> ModelError {
    ModelError::Base {
        path: PathBuf::from(path),
        reason: format!("it adapts the layer {layer}, which this base model does not have"),
    }
}
