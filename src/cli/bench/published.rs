//! The published models' sizes with random weights: what Llama-3.2-11B-Vision and Stable Diffusion
//! 3 medium need and reach on a device, without having them. A tiny stand-in runs anywhere.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Value, json};

use super::draw::timed_picture;
use super::memory::bytes_per_s;
use super::sizes::Size;
use super::talk::{Sees, pace, some_ids, some_photo, token_elements};
use crate::llama_vision::LlamaVision;
use crate::nn::{AttentionCall, with_attention_recorded};
use crate::stable_diffusion::StableDiffusion3;
use crate::tokens::{CLIP_POSITIONS, CaptionIds, T5_POSITIONS};
use crate::torch::{Compute, Generator, Weights, peak_bytes, reset_peak};

/// Time the published models' sizes with random weights
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Sizes of the models
    #[arg(long, value_enum, default_value_t = Size::Published)]
    size: Size,

    /// Tokens of the prompt, beside one photo
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,

    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(2..))]
    new_tokens: u16,

    /// Diffusion steps
    #[arg(long, value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,

    /// Leave the image generator's T5 out
    #[arg(long)]
    without_t5: bool,
}

pub(super) fn run(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    let bandwidth = bytes_per_s(compute)?;
    Ok(json!({
        "runs_on": compute.to_string(),
        "bytes_per_s": bandwidth,
        "talk": talk(arguments, compute, bandwidth)?,
        "draw": draw(arguments, compute)?,
    }))
}

fn talk(arguments: &Arguments, compute: Compute, bandwidth: f64) -> anyhow::Result<Value> {
    reset_peak(compute.device);
    let weights = Weights::random(compute);
    let model = LlamaVision::from_weights(&weights, arguments.size.llama())?;
    let photo = [some_photo(&model)];
    let mut ids = vec![model.config().image_token];
    ids.extend(some_ids(arguments.prompt_tokens, model.config().text.vocabulary));
    let (_, calls) = with_attention_recorded(|| pace(&model, &ids, &photo, 2));
    let pace = pace(&model, &ids, &photo, usize::from(arguments.new_tokens));
    let element_bytes = compute.kind.elt_size_in_bytes();
    let tokens = ids.len() as i64 + i64::from(arguments.new_tokens);
    let tiles = model.config().vision.tiles_max;
    let reckoned = model.config().dialogue_elements(tokens, tiles) * element_bytes as i64;
    let token_bytes = token_elements(&weights.asked(), Sees::Photos) * element_bytes;
    Ok(json!({
        "prefill_s": pace.prefill_s,
        "tokens_per_s": pace.tokens_per_s,
        "token_bytes": token_bytes,
        "bandwidth_share": pace.tokens_per_s * token_bytes as f64 / bandwidth,
        "bytes_max": peak_bytes(compute.device),
        "beside_weights_bytes_reckoned": reckoned,
        "attention": described(&calls),
    }))
}

fn draw(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    reset_peak(compute.device);
    let config = arguments.size.stable_diffusion(!arguments.without_t5);
    let some = |positions, rows| -> Vec<i64> {
        some_ids(positions as u32, rows).into_iter().map(i64::from).collect()
    };
    let ids = CaptionIds {
        clip_l: some(CLIP_POSITIONS, config.clip_l.vocab_size),
        clip_g: some(CLIP_POSITIONS, config.clip_g.vocab_size),
        t5: config.t5.as_ref().map(|t5| some(T5_POSITIONS, t5.vocab_size)),
    };
    let element_bytes = compute.kind.elt_size_in_bytes() as u64;
    let reckoned = config.drawing_bytes(None, element_bytes)?;
    let model = StableDiffusion3::random(config, compute)?;
    let [c, h, w] = model.latents_shape(None).context("the model's own size")?;
    let latents_1chw = Generator::new(0).randn(&[1, c, h, w]);
    let picture = |steps| timed_picture(&model, [&ids, &ids], &latents_1chw, steps, 5.0);
    let (_, calls) = with_attention_recorded(|| picture(1));
    let (picture_bchw, picture_s) = picture(usize::from(arguments.steps));
    Ok(json!({
        "width": picture_bchw.size()[3],
        "height": picture_bchw.size()[2],
        "picture_s": picture_s,
        "bytes_max": peak_bytes(compute.device),
        "beside_weights_bytes_reckoned": reckoned,
        "attention": described(&calls),
    }))
}

fn described(calls: &BTreeSet<AttentionCall>) -> Vec<String> {
    let line = |call: &AttentionCall| {
        let AttentionCall { query, key, kernel } = call;
        format!("queries {query:?}, keys {key:?}: {kernel:?}")
    };
    calls.iter().map(line).collect()
}
