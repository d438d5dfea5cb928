//! The language model: reading a prompt, and writing on from it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::draw::Inputs;
use crate::llama_vision::{Decoding, GenerationSettings, LlamaVision, PhotoTiles, Prompt};
use crate::torch::{Checkpoint, Compute, Generator, resident_bytes_max};

/// Time a language model on given prompts
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Hugging Face folder of the language model (mllama)
    #[arg(long, value_name = "DIR")]
    llama: PathBuf,

    /// safetensors file with `ids [t]`, `pixel_values [tiles, 3, h, w]` and `aspect_ratio_id [1]`
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,

    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..))]
    new_tokens: u16,
}

/// How fast one reply went.
#[derive(Serialize)]
pub(super) struct Pace {
    /// From the prompt, photo included, to its first token.
    pub(super) prefill_s: f64,
    /// Over the tokens after the first.
    pub(super) tokens_per_s: f64,
    /// What was written.
    pub(super) ids: Vec<u32>,
}

pub(super) fn run(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    let inputs = Inputs::read(&arguments.inputs)?;
    let ids: Vec<u32> = inputs.integers("ids")?.into_iter().map(|id| id as u32).collect();
    let pixels_kcyx = inputs.tensor("pixel_values")?;
    let photo = PhotoTiles {
        tiles: pixels_kcyx.size()[0] as usize,
        pixels: Vec::try_from(pixels_kcyx.flatten(0, -1).to_kind(Kind::Float))?,
        aspect_ratio_id: *inputs
            .integers("aspect_ratio_id")?
            .first()
            .context("`aspect_ratio_id` is empty")?,
    };

    let model = LlamaVision::load(&arguments.llama, compute, None)?;

    let seeing = [&[model.config().image_token], ids.as_slice()].concat();
    let photos = [photo];
    let new_tokens = usize::from(arguments.new_tokens);
    let measured = |ids: &[u32], photos: &[PhotoTiles]| {
        pace(&model, ids, photos, 2);
        pace(&model, ids, photos, new_tokens)
    };
    let text = measured(&ids, &[]);
    let photo = measured(&seeing, &photos);

    let shapes = Checkpoint::open(&arguments.llama, "model")?.shapes();
    let element_bytes = compute.kind.elt_size_in_bytes();
    Ok(json!({
        "text": text,
        "photo": photo,
        "token_bytes_text": token_elements(&shapes, Sees::Text) * element_bytes,
        "token_bytes_photo": token_elements(&shapes, Sees::Photos) * element_bytes,
        "resident_bytes_max": resident_bytes_max(),
    }))
}

/// Writes exactly `new_tokens` greedy tokens.
pub(super) fn pace(
    model: &LlamaVision,
    ids: &[u32],
    photos: &[PhotoTiles],
    new_tokens: usize,
) -> Pace {
    let _no_grad = tch::no_grad_guard();
    let settings = GenerationSettings {
        decoding: Decoding::Greedy,
        new_tokens_max: new_tokens,
        end_tokens: Vec::new(),
        photos: None,
    };
    let mut moments_s = Vec::with_capacity(new_tokens);
    let begun = Instant::now();
    let seen = model.perceive(photos, None);
    let prompt = Prompt { ids, photos: &seen };
    let generation = model.generate(prompt, &settings, &mut Generator::new(0), None, &mut |_| {
        moments_s.push(begun.elapsed().as_secs_f64());
        ControlFlow::Continue(())
    });
    let (first_s, last_s) = (moments_s[0], moments_s[moments_s.len() - 1]);
    Pace {
        prefill_s: first_s,
        tokens_per_s: (moments_s.len() - 1) as f64 / (last_s - first_s),
        ids: generation.ids,
    }
}

/// What a reply's prompt holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// Text alone: the cross-attention layers are skipped.
    Text,
    /// Photos too, whose keys and values are computed once.
    Photos,
}

/// Weights that writing one token reads: every matrix of the decoder's layers that take part, and
/// the head.
pub(super) fn token_elements(shapes: &BTreeMap<String, Vec<i64>>, sees: Sees) -> usize {
    let cross =
        |layer: &str| shapes.keys().any(|name| name.starts_with(&format!("{layer}.cross_attn")));
    let elements = shapes.iter().filter(|(name, shape)| {
        let Some(module) = name.strip_prefix("language_model.") else { return false };
        let Some(rest) = module.strip_prefix("model.layers.") else {
            return module == "lm_head.weight";
        };
        let index = rest.split('.').next().unwrap_or_default();
        let once = rest.ends_with("cross_attn.k_proj.weight")
            || rest.ends_with("cross_attn.v_proj.weight");
        let skipped = sees == Sees::Text && cross(&format!("language_model.model.layers.{index}"));
        shape.len() == 2 && !once && !skipped
    });
    elements.map(|(_, shape)| shape.iter().product::<i64>() as usize).sum()
}

/// `count` ids below `vocabulary`, far apart.
pub(super) fn some_ids(count: u32, vocabulary: i64) -> Vec<u32> {
    (0..count).map(|at| at * 7919 % (vocabulary as u32)).collect()
}

/// A photo that fills all its tiles.
pub(super) fn some_photo(model: &LlamaVision) -> PhotoTiles {
    let vision = &model.config().vision;
    let values = vision.tiles_max * vision.channels * vision.tile_size.pow(2);
    let pixels = Tensor::linspace(-1.0, 1.0, values, tch::kind::FLOAT_CPU);
    PhotoTiles {
        pixels: Vec::try_from(pixels).expect("a vector of float32"),
        tiles: vision.tiles_max as usize,
        aspect_ratio_id: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_what_takes_part() {
        let shapes: BTreeMap<String, Vec<i64>> = [
            ("language_model.lm_head.weight", vec![10, 3]),
            ("language_model.model.embed_tokens.weight", vec![18, 3]),
            ("language_model.model.norm.weight", vec![3]),
            ("language_model.model.layers.0.self_attn.k_proj.weight", vec![3, 3]),
            ("language_model.model.layers.0.input_layernorm.weight", vec![3]),
            ("language_model.model.layers.1.cross_attn.q_proj.weight", vec![3, 5]),
            ("language_model.model.layers.1.cross_attn.k_proj.weight", vec![3, 7]),
            ("language_model.model.layers.10.mlp.up_proj.weight", vec![2, 3]),
            ("vision_model.layers.0.mlp.fc1.weight", vec![30, 30]),
        ]
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect();
        assert_eq!(token_elements(&shapes, Sees::Text), 30 + 9 + 6);
        assert_eq!(token_elements(&shapes, Sees::Photos), 30 + 9 + 15 + 6);
    }
}
