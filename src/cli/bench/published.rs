//! The published models' sizes with random weights: what Llama-3.2-11B-Vision and Stable Diffusion
//! 3 medium need and reach on a device, without having them.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Value, json};

use super::draw::timed_picture;
use super::memory::bytes_per_s;
use super::talk::{Sees, pace, some_ids, some_photo, token_elements};
use crate::llama_vision::{
    Config, Embeddings, LlamaVision, RopeConfig, RopeStretch, TextConfig, VisionActivation,
    VisionConfig,
};
use crate::nn::{AttentionCall, with_attention_recorded};
use crate::stable_diffusion::{
    ClipActivation, ClipConfig, MmditConfig, SchedulerConfig, StableDiffusion3,
    StableDiffusion3Config, T5Config, VaeConfig,
};
use crate::tokens::{CLIP_POSITIONS, CaptionIds, T5_POSITIONS};
use crate::torch::{Compute, Generator, Weights, peak_bytes, reset_peak};

/// Time the published models' sizes with random weights
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
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
    let model = LlamaVision::from_weights(&weights, llama_11b())?;
    let photo = [some_photo(&model)];
    let mut ids = vec![model.config().image_token];
    ids.extend(some_ids(arguments.prompt_tokens, model.config().text.vocabulary));
    let (_, calls) = with_attention_recorded(|| pace(&model, &ids, &photo, 2));
    let pace = pace(&model, &ids, &photo, usize::from(arguments.new_tokens));
    let element_bytes = compute.kind.elt_size_in_bytes();
    let token_bytes = token_elements(&weights.asked(), Sees::Photos) * element_bytes;
    Ok(json!({
        "prefill_s": pace.prefill_s,
        "tokens_per_s": pace.tokens_per_s,
        "token_bytes": token_bytes,
        "bandwidth_share": pace.tokens_per_s * token_bytes as f64 / bandwidth,
        "bytes_max": peak_bytes(compute.device),
        "attention": described(&calls),
    }))
}

fn draw(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    reset_peak(compute.device);
    let config = stable_diffusion_3_medium(!arguments.without_t5);
    let model = StableDiffusion3::random(config, compute)?;
    let clip: Vec<i64> =
        some_ids(CLIP_POSITIONS as u32, 49_406).into_iter().map(i64::from).collect();
    let t5 = some_ids(T5_POSITIONS as u32, 32_128).into_iter().map(i64::from).collect();
    let ids = CaptionIds {
        clip_l: clip.clone(),
        clip_g: clip,
        t5: (!arguments.without_t5).then_some(t5),
    };
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

/// `config.json` of meta-llama/Llama-3.2-11B-Vision-Instruct.
fn llama_11b() -> Config {
    Config {
        text: TextConfig {
            vocabulary: 128_256,
            width: 4096,
            feed_forward_width: 14_336,
            layers: 40,
            cross_attention_layers: (3..39).step_by(5).collect(),
            heads: 32,
            key_heads: 8,
            rms_norm_epsilon: 1e-5,
            rope: RopeConfig {
                theta: 500_000.0,
                stretch: Some(RopeStretch {
                    factor: 8.0,
                    low_frequency: 1.0,
                    high_frequency: 4.0,
                    trained_positions: 8192.0,
                }),
            },
            positions_max: 131_072,
            embeddings: Embeddings::Separate,
        },
        vision: VisionConfig {
            width: 1280,
            feed_forward_width: 5120,
            layers: 32,
            global_layers: 8,
            heads: 16,
            channels: 3,
            tile_size: 560,
            patch_size: 14,
            norm_epsilon: 1e-5,
            activation: VisionActivation::Gelu,
            tiles_max: 4,
            intermediate_layers: vec![3, 7, 15, 23, 30],
            aspect_ratios: 8,
        },
        image_token: 128_256,
    }
}

/// The configurations of stabilityai/stable-diffusion-3-medium-diffusers.
fn stable_diffusion_3_medium(with_t5: bool) -> StableDiffusion3Config {
    let clip = |hidden_size, layers, heads, hidden_act| ClipConfig {
        hidden_size,
        intermediate_size: 4 * hidden_size,
        projection_dim: hidden_size,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        hidden_act,
        eos_token_id: 2,
        ..ClipConfig::default()
    };
    StableDiffusion3Config {
        transformer: MmditConfig {
            num_layers: 24,
            num_attention_heads: 24,
            caption_projection_dim: 1536,
            pos_embed_max_size: Some(192),
            ..MmditConfig::default()
        },
        vae: VaeConfig {
            down_block_types: vec!["DownEncoderBlock2D".to_owned(); 4],
            up_block_types: vec!["UpDecoderBlock2D".to_owned(); 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 16,
            scaling_factor: 1.5305,
            shift_factor: Some(0.0609),
            use_quant_conv: false,
            use_post_quant_conv: false,
            ..VaeConfig::default()
        },
        clip_l: clip(768, 12, 12, ClipActivation::QuickGelu),
        clip_g: clip(1280, 32, 20, ClipActivation::Gelu),
        t5: with_t5.then(|| T5Config {
            d_model: 4096,
            d_ff: 10_240,
            num_layers: 24,
            num_heads: 64,
            feed_forward_proj: "gated-gelu".to_owned(),
            ..T5Config::default()
        }),
        scheduler: SchedulerConfig { num_train_timesteps: 1000, shift: 3.0 },
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde::de::DeserializeOwned;

    use super::*;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
    }

    /// The configuration of a part as diffusers and transformers know it.
    fn config<T: DeserializeOwned>(part: &str) -> T {
        let path = fixtures().join(format!("stable_diffusion/shapes/{part}.json"));
        let mut table: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        serde_json::from_value(table["config"].take()).unwrap()
    }

    #[test]
    fn the_language_model_is_the_published_one() {
        assert_eq!(llama_11b(), Config::read(&fixtures().join("llama/published")).unwrap());
    }

    #[test]
    fn the_image_generator_is_the_published_one() {
        let ours = stable_diffusion_3_medium(true);
        assert_eq!(ours.transformer, config("transformer-sd3-medium"));
        assert_eq!(ours.vae, config("vae"));
        assert_eq!(ours.clip_l, config("clip-l"));
        assert_eq!(ours.clip_g, config("clip-g"));
        assert_eq!(ours.t5, Some(config("t5-xxl")));
    }
}
