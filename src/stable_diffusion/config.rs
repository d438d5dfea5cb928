//! The configurations of Stable Diffusion 3's parts, as diffusers and transformers write them.
//!
//! Keys that a file leaves out take the libraries' defaults, because the published files of SD3
//! are older than the options of SD 3.5. What these networks can't run is refused by name.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::torch::LoadError;

/// `transformer/config.json` (`SD3Transformer2DModel`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MmditConfig {
    /// Side of the model's own pictures in latents; also scales computed position embeddings.
    pub sample_size: i64,
    /// Side of a patch in latents.
    pub patch_size: i64,
    /// Latent channels in.
    pub in_channels: i64,
    /// Number of joint blocks.
    pub num_layers: usize,
    /// Width of a head.
    pub attention_head_dim: i64,
    /// Heads.
    pub num_attention_heads: i64,
    /// Width of the text encoders' hidden states.
    pub joint_attention_dim: i64,
    /// Width of the context stream; always the width of the blocks.
    pub caption_projection_dim: i64,
    /// Width of the pooled text vectors.
    pub pooled_projection_dim: i64,
    /// Latent channels out; `in_channels` where it is null.
    pub out_channels: Option<i64>,
    /// Side of the stored table of position embeddings in patches, of which the middle is cut
    /// out; without it they are computed for every size.
    pub pos_embed_max_size: Option<i64>,
    /// Blocks with a second attention over the image alone (SD 3.5 medium).
    pub dual_attention_layers: Vec<usize>,
    /// Normalisation of queries and keys (SD 3.5).
    pub qk_norm: Option<QkNorm>,
}

/// How queries and keys are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// Root-mean-square normalisation over each head.
    RmsNorm,
}

impl Default for MmditConfig {
    fn default() -> Self {
        Self {
            sample_size: 128,
            patch_size: 2,
            in_channels: 16,
            num_layers: 18,
            attention_head_dim: 64,
            num_attention_heads: 18,
            joint_attention_dim: 4096,
            caption_projection_dim: 1152,
            pooled_projection_dim: 2048,
            out_channels: Some(16),
            pos_embed_max_size: Some(96),
            dual_attention_layers: Vec::new(),
            qk_norm: None,
        }
    }
}

impl MmditConfig {
    /// Reads and checks the file below a pipeline's folder.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        checked(dir.join("transformer/config.json"), Self::problem)
    }

    /// Width of the blocks.
    pub fn width(&self) -> i64 {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Latent channels out.
    pub fn outputs(&self) -> i64 {
        self.out_channels.unwrap_or(self.in_channels)
    }

    fn problem(&self) -> Option<String> {
        if self.caption_projection_dim != self.width() {
            return Some(format!(
                "caption_projection_dim is {}, but the blocks are {} wide; both must be equal",
                self.caption_projection_dim,
                self.width()
            ));
        }
        if self.outputs() != self.in_channels {
            return Some(format!(
                "out_channels is {}, in_channels {}; flow matching needs both equal",
                self.outputs(),
                self.in_channels
            ));
        }
        None
    }
}

/// `vae/config.json` (`AutoencoderKL`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Colour channels in.
    pub in_channels: i64,
    /// Colour channels out.
    pub out_channels: i64,
    /// Kinds of the encoder's blocks; all `DownEncoderBlock2D`.
    pub down_block_types: Vec<String>,
    /// Kinds of the decoder's blocks; all `UpDecoderBlock2D`.
    pub up_block_types: Vec<String>,
    /// Channels at each resolution, finest first.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Activation; `silu`.
    pub act_fn: String,
    /// Latent channels.
    pub latent_channels: i64,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// What latents are multiplied with before diffusion.
    pub scaling_factor: f64,
    /// What is subtracted from latents before they are scaled; 0 where it is null.
    pub shift_factor: Option<f64>,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks attend over all positions.
    pub mid_block_add_attention: bool,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".to_owned()],
            up_block_types: vec!["UpDecoderBlock2D".to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".to_owned(),
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl VaeConfig {
    /// Reads and checks the file below a pipeline's folder.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        checked(dir.join("vae/config.json"), Self::problem)
    }

    /// Pixels along one side of a latent.
    pub fn downscale(&self) -> i64 {
        1 << (self.block_out_channels.len() - 1)
    }

    fn problem(&self) -> Option<String> {
        let blocks = self.down_block_types.iter().zip(&self.up_block_types);
        let levels = self.block_out_channels.len();
        if levels == 0
            || self.down_block_types.len() != levels
            || self.up_block_types.len() != levels
        {
            return Some(format!(
                "block_out_channels names {levels} resolutions, down_block_types {} and up_block_types {}",
                self.down_block_types.len(),
                self.up_block_types.len()
            ));
        }
        for (down, up) in blocks {
            if down != "DownEncoderBlock2D" || up != "UpDecoderBlock2D" {
                return Some(format!(
                    "blocks {down} and {up} are not understood; DownEncoderBlock2D and UpDecoderBlock2D are"
                ));
            }
        }
        (self.act_fn != "silu" && self.act_fn != "swish")
            .then(|| format!("act_fn is {}; silu is understood", self.act_fn))
    }
}

/// `text_encoder/config.json` and `text_encoder_2/config.json` (`CLIPTextModelWithProjection`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Width.
    pub hidden_size: i64,
    /// Width between the two layers of the feed-forward part.
    pub intermediate_size: i64,
    /// Width of the pooled vector.
    pub projection_dim: i64,
    /// Layers; at least 2.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: i64,
    /// Positions.
    pub max_position_embeddings: i64,
    /// Activation of the feed-forward part.
    pub hidden_act: ClipActivation,
    /// Epsilon of every layer normalisation.
    pub layer_norm_eps: f64,
    /// End-of-text id. The published encoders say 2, which their vocabulary does not use so: then
    /// the position of the largest id counts.
    pub eos_token_id: i64,
}

/// Activations that CLIP's text encoders use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// x σ(1.702 x), which CLIP-L has.
    QuickGelu,
    /// x Φ(x), which CLIP-G has.
    Gelu,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

impl ClipConfig {
    /// Reads and checks the file below a pipeline's folder; `encoder` is `text_encoder` (CLIP-L) or
    /// `text_encoder_2` (CLIP-G).
    pub fn read(dir: &Path, encoder: &str) -> Result<Self, LoadError> {
        checked(dir.join(encoder).join("config.json"), Self::problem)
    }

    fn problem(&self) -> Option<String> {
        (self.num_hidden_layers < 2).then(|| {
            format!(
                "num_hidden_layers is {}; the last layer but one is needed",
                self.num_hidden_layers
            )
        })
    }
}

/// `text_encoder_3/config.json` (`T5EncoderModel`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Width.
    pub d_model: i64,
    /// Width of a head.
    pub d_kv: i64,
    /// Width between the layers of the feed-forward part.
    pub d_ff: i64,
    /// Layers.
    pub num_layers: usize,
    /// Heads.
    pub num_heads: i64,
    /// Buckets of relative positions, both directions together.
    pub relative_attention_num_buckets: i64,
    /// Distance from which on all positions share a bucket.
    pub relative_attention_max_distance: i64,
    /// Epsilon of every normalisation.
    pub layer_norm_epsilon: f64,
    /// Kind of feed-forward part; `gated-gelu` (T5 1.1).
    pub feed_forward_proj: String,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".to_owned(),
        }
    }
}

impl T5Config {
    /// Reads and checks the file below a pipeline's folder.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        checked(dir.join("text_encoder_3/config.json"), Self::problem)
    }

    fn problem(&self) -> Option<String> {
        (self.feed_forward_proj != "gated-gelu").then(|| {
            format!("feed_forward_proj is {}; gated-gelu is understood", self.feed_forward_proj)
        })
    }
}

/// `scheduler/scheduler_config.json` (`FlowMatchEulerDiscreteScheduler` with a fixed shift).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SchedulerConfig {
    /// Timestep of pure noise.
    pub num_train_timesteps: u32,
    /// How far the schedule leans towards noise; 1 not at all.
    pub shift: f64,
}

impl SchedulerConfig {
    /// Reads and checks the file below a pipeline's folder.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let SchedulerFile { num_train_timesteps, shift, .. } =
            checked(dir.join("scheduler/scheduler_config.json"), SchedulerFile::problem)?;
        Ok(Self { num_train_timesteps, shift })
    }
}

/// The file itself, with options that would change the schedule and that Stable Diffusion 3 does
/// not use.
#[derive(Deserialize)]
#[serde(default)]
struct SchedulerFile {
    #[serde(rename = "_class_name")]
    class_name: String,
    num_train_timesteps: u32,
    shift: f64,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Default for SchedulerFile {
    fn default() -> Self {
        Self {
            class_name: String::new(),
            num_train_timesteps: 1000,
            shift: 1.0,
            others: serde_json::Map::new(),
        }
    }
}

impl SchedulerFile {
    const REFUSED: [&str; 7] = [
        "use_dynamic_shifting",
        "invert_sigmas",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "stochastic_sampling",
        "shift_terminal",
    ];

    fn problem(&self) -> Option<String> {
        if self.class_name != "FlowMatchEulerDiscreteScheduler" {
            return Some(format!(
                "the scheduler is {:?}; FlowMatchEulerDiscreteScheduler is understood",
                self.class_name
            ));
        }
        let is_off = |value: &serde_json::Value| value.is_null() || *value == false;
        let on = |name: &&&str| self.others.get(**name).is_some_and(|value| !is_off(value));
        Self::REFUSED.iter().find(on).map(|name| {
            format!("{name} is set; only the fixed shift of Stable Diffusion 3 is understood")
        })
    }
}

/// What `model_index.json` says of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineIndex {
    /// Whether T5 is one of the parts.
    pub has_t5: bool,
}

impl PipelineIndex {
    /// Reads and checks the file in a pipeline's folder.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join("model_index.json");
        let parts: serde_json::Map<String, serde_json::Value> = json(&path)?;
        let class = parts.get("_class_name").and_then(serde_json::Value::as_str);
        if class != Some("StableDiffusion3Pipeline") {
            let reason = format!(
                "the pipeline is {}; StableDiffusion3Pipeline is understood",
                class.unwrap_or("not named")
            );
            return Err(LoadError::Config { path, reason });
        }
        // An absent part stands as [null, null].
        let has_t5 = parts.get("text_encoder_3").is_some_and(|part| !part[0].is_null());
        Ok(Self { has_t5 })
    }
}

/// The configurations of all parts of one pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct StableDiffusion3Config {
    /// The denoising transformer.
    pub transformer: MmditConfig,
    /// The picture autoencoder.
    pub vae: VaeConfig,
    /// CLIP-L.
    pub clip_l: ClipConfig,
    /// CLIP-G.
    pub clip_g: ClipConfig,
    /// T5, where the pipeline has it.
    pub t5: Option<T5Config>,
    /// The noise schedule.
    pub scheduler: SchedulerConfig,
}

impl StableDiffusion3Config {
    /// Reads the configurations below a diffusers pipeline's folder and checks that they fit each
    /// other.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let has_t5 = PipelineIndex::read(dir)?.has_t5;
        let config = Self {
            transformer: MmditConfig::read(dir)?,
            vae: VaeConfig::read(dir)?,
            clip_l: ClipConfig::read(dir, "text_encoder")?,
            clip_g: ClipConfig::read(dir, "text_encoder_2")?,
            t5: has_t5.then(|| T5Config::read(dir)).transpose()?,
            scheduler: SchedulerConfig::read(dir)?,
        };
        match config.mismatch() {
            None => Ok(config),
            Some(reason) => {
                Err(LoadError::Config { path: dir.join("transformer/config.json"), reason })
            }
        }
    }

    /// The first way in which the parts don't fit each other.
    fn mismatch(&self) -> Option<String> {
        let pooled = self.clip_l.projection_dim + self.clip_g.projection_dim;
        let clip = self.clip_l.hidden_size + self.clip_g.hidden_size;
        let joint = self.transformer.joint_attention_dim;
        let unequal = |what: &str, ours: i64, other: &str, theirs: i64| {
            (ours != theirs).then(|| format!("{what} is {ours}, but {other} is {theirs}"))
        };
        unequal(
            "pooled_projection_dim",
            self.transformer.pooled_projection_dim,
            "the CLIP encoders' projection_dim together",
            pooled,
        )
        .or_else(|| {
            let vae = self.vae.latent_channels;
            unequal("in_channels", self.transformer.in_channels, "the VAE's latent_channels", vae)
        })
        .or_else(|| {
            let t5 = self.t5.as_ref()?;
            unequal("joint_attention_dim", joint, "T5's d_model", t5.d_model)
        })
        .or_else(|| {
            (clip > joint).then(|| {
                format!("joint_attention_dim is {joint}, but the CLIP encoders' hidden_size together is {clip}")
            })
        })
        .or_else(|| {
            let other = self.clip_g.max_position_embeddings;
            let what = "max_position_embeddings of text_encoder";
            unequal(what, self.clip_l.max_position_embeddings, "that of text_encoder_2", other)
        })
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let file =
        File::open(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
    serde_json::from_reader(BufReader::new(file))
        .map_err(|source| LoadError::Json { path: path.to_owned(), source })
}

fn checked<T: DeserializeOwned>(
    path: PathBuf,
    problem: impl Fn(&T) -> Option<String>,
) -> Result<T, LoadError> {
    let config: T = json(&path)?;
    match problem(&config) {
        None => Ok(config),
        Some(reason) => Err(LoadError::Config { path, reason }),
    }
}
