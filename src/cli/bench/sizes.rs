//! Models whose weights nobody has at hand, as configurations.

use clap::ValueEnum;

use crate::llama_vision::{
    Config, Embeddings, RopeConfig, RopeStretch, TextConfig, VisionActivation, VisionConfig,
};
use crate::stable_diffusion::{
    ClipActivation, ClipConfig, MmditConfig, SchedulerConfig, StableDiffusion3Config, T5Config,
    VaeConfig,
};

/// Which sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Size {
    /// Those of Llama-3.2-11B-Vision and Stable Diffusion 3 medium.
    Published,
    /// The same networks, as small as they go: their figures mean nothing.
    Tiny,
}

impl Size {
    pub(super) fn llama(self) -> Config {
        match self {
            Self::Published => llama_11b(),
            Self::Tiny => tiny_llama(),
        }
    }

    pub(super) fn stable_diffusion(self, with_t5: bool) -> StableDiffusion3Config {
        let config = match self {
            Self::Published => stable_diffusion_3_medium(),
            Self::Tiny => tiny_stable_diffusion(),
        };
        StableDiffusion3Config { t5: config.t5.filter(|_| with_t5), ..config }
    }
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
fn stable_diffusion_3_medium() -> StableDiffusion3Config {
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
        t5: Some(T5Config {
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

fn tiny_llama() -> Config {
    let Config { text, vision, .. } = llama_11b();
    Config {
        text: TextConfig {
            vocabulary: 512,
            width: 64,
            feed_forward_width: 128,
            layers: 5,
            cross_attention_layers: vec![1, 3],
            heads: 4,
            key_heads: 2,
            ..text
        },
        vision: VisionConfig {
            width: 32,
            feed_forward_width: 64,
            layers: 3,
            global_layers: 2,
            heads: 2,
            tile_size: 28,
            intermediate_layers: vec![0, 2],
            ..vision
        },
        image_token: 512,
    }
}

fn tiny_stable_diffusion() -> StableDiffusion3Config {
    let config = stable_diffusion_3_medium();
    let clip = |config: ClipConfig| ClipConfig {
        vocab_size: 512,
        hidden_size: 32,
        intermediate_size: 64,
        projection_dim: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        ..config
    };
    StableDiffusion3Config {
        transformer: MmditConfig {
            sample_size: 8,
            num_layers: 2,
            attention_head_dim: 16,
            num_attention_heads: 4,
            joint_attention_dim: 64,
            caption_projection_dim: 64,
            pooled_projection_dim: 64,
            ..config.transformer
        },
        vae: VaeConfig { block_out_channels: vec![8, 8, 16, 16], norm_num_groups: 4, ..config.vae },
        clip_l: clip(config.clip_l),
        clip_g: clip(config.clip_g),
        t5: config.t5.map(|t5| T5Config {
            vocab_size: 512,
            d_model: 64,
            d_ff: 128,
            num_layers: 2,
            num_heads: 1,
            ..t5
        }),
        ..config
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde::de::DeserializeOwned;
    use serde_json::Value;

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
        let ours = stable_diffusion_3_medium();
        assert_eq!(ours.transformer, config("transformer-sd3-medium"));
        assert_eq!(ours.vae, config("vae"));
        assert_eq!(ours.clip_l, config("clip-l"));
        assert_eq!(ours.clip_g, config("clip-g"));
        assert_eq!(ours.t5, Some(config("t5-xxl")));
    }
}
