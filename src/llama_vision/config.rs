//! `config.json` of a Llama-3.2-Vision directory, checked and resolved.

use std::path::Path;

use serde::Deserialize;

use crate::torch::LoadError;

/// Shape of a whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The text dialogue generator.
    pub text: TextConfig,
    /// The image perceptron.
    pub vision: VisionConfig,
    /// Id of `<|image|>`: a row of the embedding, but none of the head.
    pub image_token: u32,
}

/// Shape of the decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the head; the embedding has `EXTRA_ROWS` more.
    pub vocabulary: i64,
    /// Width of the residual stream.
    pub width: i64,
    /// Width within the feed-forward blocks.
    pub feed_forward_width: i64,
    /// Layers of both kinds together.
    pub layers: usize,
    /// Which of the layers read the photos, in rising order.
    pub cross_attention_layers: Vec<usize>,
    /// Query heads.
    pub heads: i64,
    /// Key and value heads, each serving `heads / key_heads` query heads.
    pub key_heads: i64,
    /// Added to the mean square.
    pub rms_norm_epsilon: f64,
    /// Rotary frequencies.
    pub rope: RopeConfig,
    /// The longest sequence that the model was made for, in tokens.
    pub positions_max: i64,
    /// Whether the head is the embedding's first rows when the files hold no head.
    pub embeddings: Embeddings,
}

impl TextConfig {
    /// Rows that the embedding has beyond the head's, `<|image|>` being the first of them.
    pub const EXTRA_ROWS: i64 = 8;

    /// Width of one head.
    pub fn head_width(&self) -> i64 {
        self.width / self.heads
    }
}

/// How the head relates to the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embeddings {
    /// The head has its own weight.
    Separate,
    /// The head is the embedding's first rows, unless the files hold a head all the same (as
    /// those that transformers writes do).
    Tied,
}

/// Rotary position embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric row of wavelengths.
    pub theta: f64,
    /// Llama 3.1's stretching of long wavelengths.
    pub stretch: Option<RopeStretch>,
}

/// How long wavelengths are stretched so that a longer context fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeStretch {
    /// By how much the longest wavelengths are stretched.
    pub factor: f64,
    /// Wavelengths above `trained_positions / low_frequency` are stretched in full.
    pub low_frequency: f64,
    /// Wavelengths below `trained_positions / high_frequency` are left alone.
    pub high_frequency: f64,
    /// Context length of the first training, in tokens.
    pub trained_positions: f64,
}

/// Shape of the vision encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width of the residual stream.
    pub width: i64,
    /// Width within the feed-forward blocks.
    pub feed_forward_width: i64,
    /// Layers of the first, ungated transformer.
    pub layers: usize,
    /// Layers of the second, gated transformer.
    pub global_layers: usize,
    /// Attention heads.
    pub heads: i64,
    /// Colour channels.
    pub channels: i64,
    /// Side of a tile, in pixels.
    pub tile_size: i64,
    /// Side of a patch, in pixels.
    pub patch_size: i64,
    /// Added to the variance in the layers' norms.
    pub norm_epsilon: f64,
    /// The feed-forward blocks' activation.
    pub activation: VisionActivation,
    /// Most tiles of one photo.
    pub tiles_max: i64,
    /// Layers of the first transformer whose outputs are part of the features.
    pub intermediate_layers: Vec<usize>,
    /// Number of aspect ratios; id 0 stands for no photo.
    pub aspect_ratios: i64,
}

impl VisionConfig {
    /// Positions of one tile: its patches and the class position.
    pub fn tile_positions(&self) -> i64 {
        (self.tile_size / self.patch_size).pow(2) + 1
    }

    /// Photos that go through the vision encoder at once: enough to fill a device, and few enough
    /// that their activations stay small beside the weights. Four of the published model's; more
    /// of a small model's, whose batches would otherwise be many small ones.
    pub fn photos_at_once(&self) -> usize {
        const POSITIONS: i64 = 4 * 4 * 1601;
        (POSITIONS / (self.tiles_max * self.tile_positions())).max(1) as usize
    }

    /// Width of the features: the final output and the intermediate ones.
    pub fn features(&self) -> i64 {
        self.width * (1 + self.intermediate_layers.len() as i64)
    }
}

/// The vision encoder's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum VisionActivation {
    /// x·Φ(x).
    #[serde(rename = "gelu")]
    Gelu,
    /// Its tanh approximation.
    #[serde(rename = "gelu_pytorch_tanh", alias = "gelu_new")]
    GeluTanh,
}

impl Config {
    /// Reads and checks `dir/config.json`.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| LoadError::Io { path: path.clone(), source })?;
        let raw: RawConfig = serde_json::from_str(&text)
            .map_err(|source| LoadError::Json { path: path.clone(), source })?;
        raw.resolve().map_err(|reason| LoadError::Config { path, reason })
    }
}

/// `config.json` as written, with transformers' defaults for what is left out.
#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    text_config: RawText,
    vision_config: RawVision,
    #[serde(alias = "image_token_id", default = "image_token_default")]
    image_token_index: u32,
    quantization_config: Option<serde_json::Value>,
    tie_word_embeddings: Option<bool>,
}

fn image_token_default() -> u32 {
    128_256
}

#[derive(Deserialize)]
#[serde(default)]
struct RawText {
    vocab_size: i64,
    hidden_size: i64,
    hidden_act: String,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    num_key_value_heads: i64,
    head_dim: Option<i64>,
    intermediate_size: i64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    rms_norm_eps: f64,
    max_position_embeddings: i64,
    tie_word_embeddings: bool,
    cross_attention_layers: Option<Vec<usize>>,
}

impl Default for RawText {
    fn default() -> Self {
        Self {
            vocab_size: 128_256,
            hidden_size: 4096,
            hidden_act: "silu".to_owned(),
            num_hidden_layers: 40,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: None,
            intermediate_size: 14_336,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            rms_norm_eps: 1e-5,
            max_position_embeddings: 131_072,
            tie_word_embeddings: false,
            cross_attention_layers: None,
        }
    }
}

#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

#[derive(Deserialize)]
#[serde(default)]
struct RawVision {
    hidden_size: i64,
    hidden_act: VisionActivation,
    num_hidden_layers: usize,
    num_global_layers: usize,
    #[serde(alias = "num_attention_heads")]
    attention_heads: i64,
    num_channels: i64,
    intermediate_size: i64,
    vision_output_dim: i64,
    image_size: i64,
    patch_size: i64,
    norm_eps: f64,
    max_num_tiles: i64,
    intermediate_layers_indices: Option<Vec<usize>>,
    supported_aspect_ratios: Option<Vec<[i64; 2]>>,
}

impl Default for RawVision {
    fn default() -> Self {
        Self {
            hidden_size: 1280,
            hidden_act: VisionActivation::Gelu,
            num_hidden_layers: 32,
            num_global_layers: 8,
            attention_heads: 16,
            num_channels: 3,
            intermediate_size: 5120,
            vision_output_dim: 7680,
            image_size: 448,
            patch_size: 14,
            norm_eps: 1e-5,
            max_num_tiles: 4,
            intermediate_layers_indices: None,
            supported_aspect_ratios: None,
        }
    }
}

impl RawConfig {
    fn resolve(self) -> Result<Config, String> {
        if self.model_type != "mllama" {
            return Err(format!("model_type is `{}`; `mllama` is understood", self.model_type));
        }
        if self.quantization_config.is_some() {
            return Err("quantised weights are not understood; use the original ones".to_owned());
        }
        let tied = self.text_config.tie_word_embeddings || self.tie_word_embeddings == Some(true);
        let text = self.text_config.resolve(tied)?;
        let rows = text.vocabulary + TextConfig::EXTRA_ROWS;
        if i64::from(self.image_token_index) >= rows {
            return Err(format!(
                "image_token_index is {}, but the embedding has {rows} rows",
                self.image_token_index
            ));
        }
        let vision = self.vision_config.resolve()?;
        Ok(Config { text, vision, image_token: self.image_token_index })
    }
}

impl RawText {
    fn resolve(self, tied: bool) -> Result<TextConfig, String> {
        let (width, heads, key_heads) =
            (self.hidden_size, self.num_attention_heads, self.num_key_value_heads);
        if self.hidden_act != "silu" {
            return Err(format!("text hidden_act is `{}`; `silu` is understood", self.hidden_act));
        }
        positive(
            "text_config",
            &[
                ("vocab_size", self.vocab_size),
                ("hidden_size", width),
                ("intermediate_size", self.intermediate_size),
                ("num_attention_heads", heads),
                ("num_key_value_heads", key_heads),
                ("max_position_embeddings", self.max_position_embeddings),
            ],
        )?;
        if width % heads != 0 || width / heads % 2 != 0 {
            return Err(format!(
                "text hidden_size {width} does not divide into {heads} heads of even width"
            ));
        }
        if heads % key_heads != 0 {
            return Err(format!("{heads} query heads do not divide among {key_heads} key heads"));
        }
        if let Some(head_width) = self.head_dim.filter(|&given| given != width / heads) {
            return Err(format!(
                "text head_dim is {head_width}, but hidden_size / heads is {}",
                width / heads
            ));
        }
        let mut cross_attention_layers =
            self.cross_attention_layers.unwrap_or_else(|| (3..39).step_by(5).collect());
        cross_attention_layers.sort_unstable();
        cross_attention_layers.dedup();
        in_range("cross_attention_layers", &cross_attention_layers, self.num_hidden_layers)?;
        let rope = resolve_rope(self.rope_parameters.or(self.rope_scaling), self.rope_theta)?;
        Ok(TextConfig {
            vocabulary: self.vocab_size,
            width,
            feed_forward_width: self.intermediate_size,
            layers: self.num_hidden_layers,
            cross_attention_layers,
            heads,
            key_heads,
            rms_norm_epsilon: self.rms_norm_eps,
            rope,
            positions_max: self.max_position_embeddings,
            embeddings: if tied { Embeddings::Tied } else { Embeddings::Separate },
        })
    }
}

fn resolve_rope(raw: Option<RawRope>, theta: Option<f64>) -> Result<RopeConfig, String> {
    const THETA_DEFAULT: f64 = 500_000.0;
    let Some(raw) = raw else {
        return Ok(RopeConfig { theta: theta.unwrap_or(THETA_DEFAULT), stretch: None });
    };
    if raw.partial_rotary_factor.is_some_and(|share| (share - 1.0).abs() > f64::EPSILON) {
        return Err("partial_rotary_factor is not understood".to_owned());
    }
    let theta = raw.rope_theta.or(theta).unwrap_or(THETA_DEFAULT);
    let wanted = |value: Option<f64>, name| value.ok_or(format!("the rope lacks `{name}`"));
    let stretch = match raw.rope_type.as_deref() {
        None | Some("default") => None,
        Some("llama3") => Some(RopeStretch {
            factor: wanted(raw.factor, "factor")?,
            low_frequency: wanted(raw.low_freq_factor, "low_freq_factor")?,
            high_frequency: wanted(raw.high_freq_factor, "high_freq_factor")?,
            trained_positions: wanted(
                raw.original_max_position_embeddings,
                "original_max_position_embeddings",
            )?,
        }),
        Some(other) => {
            return Err(format!("rope_type is `{other}`; `default` and `llama3` are understood"));
        }
    };
    Ok(RopeConfig { theta, stretch })
}

impl RawVision {
    fn resolve(self) -> Result<VisionConfig, String> {
        positive(
            "vision_config",
            &[
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("attention_heads", self.attention_heads),
                ("num_channels", self.num_channels),
                ("patch_size", self.patch_size),
                ("max_num_tiles", self.max_num_tiles),
            ],
        )?;
        if self.image_size < self.patch_size {
            return Err(format!(
                "image_size {} is smaller than patch_size {}",
                self.image_size, self.patch_size
            ));
        }
        if self.hidden_size % self.attention_heads != 0 {
            return Err(format!(
                "vision hidden_size {} does not divide into {} heads",
                self.hidden_size, self.attention_heads
            ));
        }
        let intermediate_layers =
            self.intermediate_layers_indices.unwrap_or_else(|| vec![3, 7, 15, 23, 30]);
        in_range("intermediate_layers_indices", &intermediate_layers, self.num_hidden_layers)?;
        let aspect_ratios = self.supported_aspect_ratios.map_or(8, |ratios| ratios.len() as i64);
        let config = VisionConfig {
            width: self.hidden_size,
            feed_forward_width: self.intermediate_size,
            layers: self.num_hidden_layers,
            global_layers: self.num_global_layers,
            heads: self.attention_heads,
            channels: self.num_channels,
            tile_size: self.image_size,
            patch_size: self.patch_size,
            norm_epsilon: self.norm_eps,
            activation: self.hidden_act,
            tiles_max: self.max_num_tiles,
            intermediate_layers,
            aspect_ratios,
        };
        if config.features() != self.vision_output_dim {
            return Err(format!(
                "vision_output_dim is {}, but the final and {} intermediate outputs of width {} make {}",
                self.vision_output_dim,
                config.intermediate_layers.len(),
                config.width,
                config.features()
            ));
        }
        Ok(config)
    }
}

fn positive(part: &str, values: &[(&str, i64)]) -> Result<(), String> {
    match values.iter().find(|(_, value)| *value < 1) {
        Some((name, value)) => Err(format!("{part}: {name} is {value}, but must be positive")),
        None => Ok(()),
    }
}

fn in_range(name: &str, indices: &[usize], layers: usize) -> Result<(), String> {
    match indices.iter().find(|&&index| index >= layers) {
        Some(index) => Err(format!("{name} names layer {index}, but there are {layers}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The published Llama-3.2-11B-Vision-Instruct, reduced to what differs from the defaults.
    fn published() -> Value {
        json!({
            "model_type": "mllama",
            "image_token_index": 128_256,
            "text_config": {
                "rope_theta": 500_000.0,
                "rope_scaling": {
                    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192, "rope_type": "llama3"
                }
            },
            "vision_config": { "image_size": 560 }
        })
    }

    fn resolve(value: Value) -> Result<Config, String> {
        serde_json::from_value::<RawConfig>(value).unwrap().resolve()
    }

    #[test]
    fn the_published_configuration_resolves() {
        let config = resolve(published()).unwrap();
        assert_eq!(config.text.cross_attention_layers, [3, 8, 13, 18, 23, 28, 33, 38]);
        assert_eq!(config.text.head_width(), 128);
        assert_eq!(config.vision.tile_positions(), 1601);
        assert_eq!(config.vision.photos_at_once(), 4);
        assert_eq!(config.vision.features(), 7680);
        let stretch = config.text.rope.stretch.unwrap();
        assert!((stretch.trained_positions - 8192.0).abs() < f64::EPSILON);
    }

    #[test]
    fn both_spellings_of_the_rope_mean_the_same() {
        let mut new = published();
        let text = new["text_config"].as_object_mut().unwrap();
        let mut rope = text.remove("rope_scaling").unwrap();
        rope["rope_theta"] = text.remove("rope_theta").unwrap();
        text.insert("rope_parameters".to_owned(), rope);
        assert_eq!(resolve(new).unwrap(), resolve(published()).unwrap());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refusals = [
            ("/model_type", json!("llama"), "model_type is `llama`"),
            ("/text_config/hidden_act", json!("gelu"), "text hidden_act is `gelu`"),
            ("/text_config/num_key_value_heads", json!(5), "32 query heads do not divide"),
            ("/text_config/num_attention_heads", json!(0), "num_attention_heads is 0"),
            ("/text_config/cross_attention_layers", json!([40]), "names layer 40"),
            ("/text_config/rope_scaling/rope_type", json!("yarn"), "rope_type is `yarn`"),
            ("/text_config/rope_scaling/factor", Value::Null, "the rope lacks `factor`"),
            ("/vision_config/vision_output_dim", json!(1280), "vision_output_dim is 1280"),
            ("/image_token_index", json!(200_000), "image_token_index is 200000"),
            ("/quantization_config", json!({}), "quantised weights"),
        ];
        for (pointer, value, expected) in refusals {
            let mut config = published();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[key] = value;
            let reason = resolve(config).unwrap_err();
            assert!(reason.contains(expected), "{pointer}: {reason}");
        }
    }
}
