//! Shapes of models that are made from nothing.

use serde_json::{Value, json};

use crate::prompt::LlamaIds;
use crate::tokens::CLIP_POSITIONS;

/// A family of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// About twelve million parameters for pictures of 64 × 64 and a few hundred words: learned
    /// from nothing on two processor cores within 90 minutes, and small enough to ship.
    Pocket,
}

/// What the shapes depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vocabularies {
    pub(super) llama: LlamaIds,
    /// Tokens of the CLIP vocabulary.
    pub(super) clip: u64,
}

/// Places below a directory, and the JSON that belongs there.
pub(super) struct Files {
    pub(super) llama: Vec<(&'static str, Value)>,
    pub(super) diffusion: Vec<(&'static str, Value)>,
}

/// Side of the pocket model's pictures, in pixels.
const PICTURE_PX: u32 = 64;
/// Pixels along one side of a latent.
const DOWNSCALE: u32 = 4;
const LATENT_CHANNELS: u32 = 8;
/// Latents along one side of a patch.
const PATCH: u32 = 2;
const CLIP_L_WIDTH: u32 = 96;
const CLIP_G_WIDTH: u32 = 128;
const MMDIT_HEADS: u32 = 5;
const MMDIT_HEAD_WIDTH: u32 = 32;

impl Preset {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pocket => "pocket",
        }
    }

    pub(super) fn llama_tokens_max(self) -> usize {
        match self {
            Self::Pocket => 1024,
        }
    }

    pub(super) fn clip_merges_max(self) -> usize {
        match self {
            Self::Pocket => 256,
        }
    }

    pub(super) fn files(self, vocabularies: Vocabularies) -> Files {
        match self {
            Self::Pocket => pocket(vocabularies),
        }
    }
}

fn pocket(Vocabularies { llama, clip }: Vocabularies) -> Files {
    let clip_encoder = |width: u32, activation: &str| clip_text(clip, width, activation);
    Files {
        llama: vec![
            ("config.json", mllama(llama)),
            ("generation_config.json", generation(llama)),
            ("preprocessor_config.json", preprocessor()),
        ],
        diffusion: vec![
            ("model_index.json", model_index()),
            ("scheduler/scheduler_config.json", scheduler()),
            ("text_encoder/config.json", clip_encoder(CLIP_L_WIDTH, "quick_gelu")),
            ("text_encoder_2/config.json", clip_encoder(CLIP_G_WIDTH, "gelu")),
            ("transformer/config.json", mmdit()),
            ("vae/config.json", vae()),
        ],
    }
}

/// A photo is one tile of 8 × 8 patches; three of the seven decoder layers read it.
fn mllama(ids: LlamaIds) -> Value {
    json!({
        "architectures": ["MllamaForConditionalGeneration"],
        "dtype": "bfloat16",
        "image_token_index": ids.image,
        "model_type": "mllama",
        "text_config": {
            "bos_token_id": ids.begin_of_text,
            "cross_attention_layers": [1, 3, 5],
            "dropout": 0.0,
            "eos_token_id": ids.ends,
            "hidden_act": "silu",
            "hidden_size": 256,
            "initializer_range": 0.02,
            "intermediate_size": 352,
            "max_position_embeddings": 2048,
            "model_type": "mllama_text_model",
            "num_attention_heads": 8,
            "num_hidden_layers": 7,
            "num_key_value_heads": 4,
            "pad_token_id": ids.pad,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_theta": 10_000.0, "rope_type": "default" },
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": ids.image,
        },
        "vision_config": {
            "attention_heads": 4,
            "hidden_act": "gelu",
            "hidden_size": 96,
            "image_size": PICTURE_PX,
            "initializer_range": 0.02,
            "intermediate_layers_indices": [1, 2],
            "intermediate_size": 384,
            "max_num_tiles": 1,
            "model_type": "mllama_vision_model",
            "norm_eps": 1e-5,
            "num_channels": 3,
            "num_global_layers": 2,
            "num_hidden_layers": 4,
            "patch_size": 8,
            "supported_aspect_ratios": [[1, 1]],
            "vision_output_dim": 288,
        },
    })
}

fn generation(ids: LlamaIds) -> Value {
    json!({
        "bos_token_id": ids.begin_of_text,
        "do_sample": true,
        "eos_token_id": ids.ends,
        "pad_token_id": ids.pad,
        "temperature": 0.6,
        "top_p": 0.9,
    })
}

/// Means and deviations are those of the published processor.
fn preprocessor() -> Value {
    json!({
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_pad": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_processor_type": "MllamaImageProcessor",
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "max_image_tiles": 1,
        "resample": 2,
        "rescale_factor": 1.0 / 255.0,
        "size": { "height": PICTURE_PX, "width": PICTURE_PX },
    })
}

fn model_index() -> Value {
    json!({
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [null, null],
        "image_encoder": [null, null],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": [null, null],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": [null, null],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// The shift of Stable Diffusion 3 suits pictures of a megapixel; small ones need none.
fn scheduler() -> Value {
    json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000,
        "shift": 1.0,
    })
}

/// The end-of-text id is the published encoders' legacy one, which their vocabulary does not use so.
fn clip_text(tokens: u64, width: u32, activation: &str) -> Value {
    json!({
        "architectures": ["CLIPTextModelWithProjection"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dtype": "bfloat16",
        "eos_token_id": 2,
        "hidden_act": activation,
        "hidden_size": width,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 3 * width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": CLIP_POSITIONS,
        "model_type": "clip_text_model",
        "num_attention_heads": width / 32,
        "num_hidden_layers": 3,
        "pad_token_id": 1,
        "projection_dim": width,
        "vocab_size": tokens,
    })
}

fn mmdit() -> Value {
    let side = PICTURE_PX / DOWNSCALE;
    json!({
        "_class_name": "SD3Transformer2DModel",
        "_diffusers_version": "0.42.1",
        "attention_head_dim": MMDIT_HEAD_WIDTH,
        "caption_projection_dim": MMDIT_HEADS * MMDIT_HEAD_WIDTH,
        "dual_attention_layers": [],
        "in_channels": LATENT_CHANNELS,
        "joint_attention_dim": CLIP_L_WIDTH + CLIP_G_WIDTH,
        "num_attention_heads": MMDIT_HEADS,
        "num_layers": 6,
        "out_channels": LATENT_CHANNELS,
        "patch_size": PATCH,
        "pooled_projection_dim": CLIP_L_WIDTH + CLIP_G_WIDTH,
        "pos_embed_max_size": side / PATCH,
        "qk_norm": "rms_norm",
        "sample_size": side,
    })
}

/// Scale and shift of the latents are set once they have been learned.
fn vae() -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.42.1",
        "act_fn": "silu",
        "block_out_channels": [32, 48, 64],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": LATENT_CHANNELS,
        "latents_mean": null,
        "latents_std": null,
        "layers_per_block": 1,
        "mid_block_add_attention": true,
        "norm_num_groups": 8,
        "out_channels": 3,
        "sample_size": PICTURE_PX,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    })
}
