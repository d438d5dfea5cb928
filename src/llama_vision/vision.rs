//! The vision encoder of Llama 3.2 Vision: photos cut into tiles, to features.
//!
//! Reference: transformers, models/mllama/modeling_mllama.py, `MllamaVisionModel`.
//!
//! Axes in names: n photo, k tile, p position within a tile (class first, then patches), s all
//! positions of a photo's tiles in a row, d width, f feature width, c channel, y and x pixels.

use std::collections::HashMap;

use tch::{Kind, Tensor};

use super::config::{VisionActivation, VisionConfig};
use crate::nn::{
    Adapter, Bias, Conv2d, ConvShape, Embedding, Gate, LayerNorm, Linear, Mask, attend,
};
use crate::torch::{Compute, Initial, LoadError, Weights};

/// Positions of a tile are padded to a multiple of this; the padding takes part in attention, so
/// that it belongs to the model's function.
pub(super) const POSITIONS_MULTIPLE: i64 = 8;

/// How the vectors of the class and of the positions begin in a model made from nothing.
const EMBEDDING_INITIAL: Initial = Initial::Normal(0.02);

/// The norms outside of the layers do not follow the configuration.
const OUTER_NORM_EPSILON: f64 = 1e-5;

/// One photo as the image processor prepares it.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoTiles {
    /// `[tiles_max, channels, tile_size, tile_size]` in row-major order, normalised; tiles from
    /// `tiles` on are zeros.
    pub pixels: Vec<f32>,
    /// Tiles that show something; at least 1.
    pub tiles: usize,
    /// 1 + the index of the photo's tiling among the supported aspect ratios.
    pub aspect_ratio_id: i64,
}

/// Tile embeddings, a local and a gated global transformer.
pub(super) struct VisionEncoder {
    config: VisionConfig,
    compute: Compute,
    patch_embedding: Conv2d,
    class_embedding_d: Tensor,
    position: PositionEmbedding,
    before: TileEmbedding,
    after: TileEmbedding,
    norm_before: LayerNorm,
    norm_after: LayerNorm,
    local: Vec<Layer>,
    global: Vec<Layer>,
}

impl VisionEncoder {
    /// Reads `vision_model.…`.
    pub(super) fn load(weights: &Weights, config: &VisionConfig) -> Result<Self, LoadError> {
        let (width, tiles) = (config.width, config.tiles_max);
        let patches = ConvShape {
            inputs: config.channels,
            outputs: width,
            kernel: config.patch_size,
            stride: config.patch_size,
            padding: 0,
            bias: Bias::No,
        };
        let layers = |part: &str, count: usize, gates| -> Result<Vec<Layer>, LoadError> {
            let weights = weights.at(part).at("layers");
            (0..count).map(|i| Layer::load(&weights.at(i), config, gates)).collect()
        };
        let tile_embedding =
            |name| TileEmbedding::load(&weights.at(name), config.aspect_ratios, tiles, width);
        Ok(Self {
            config: config.clone(),
            compute: weights.compute(),
            patch_embedding: Conv2d::load(&weights.at("patch_embedding"), patches)?,
            class_embedding_d: weights.parameter("class_embedding", &[width], EMBEDDING_INITIAL)?,
            position: PositionEmbedding::load(&weights.at("gated_positional_embedding"), config)?,
            before: tile_embedding("pre_tile_positional_embedding")?,
            after: tile_embedding("post_tile_positional_embedding")?,
            norm_before: LayerNorm::load(&weights.at("layernorm_pre"), width, OUTER_NORM_EPSILON)?,
            norm_after: LayerNorm::load(&weights.at("layernorm_post"), width, OUTER_NORM_EPSILON)?,
            local: layers("transformer", config.layers, Gates::Absent)?,
            global: layers("global_transformer", config.global_layers, Gates::Present)?,
        })
    }

    /// Features of `photos`: `[n, k, p, f]` in the running dtype, empty tiles included; the width
    /// holds the final output and then the intermediate ones, interleaved.
    ///
    /// # Panics
    /// If there is no photo, or pixels of another size than the configuration's.
    pub(super) fn forward(&self, photos: &[PhotoTiles], adapter: Option<&Adapter>) -> Tensor {
        let (n, k, d) = (photos.len() as i64, self.config.tiles_max, self.config.width);
        let p = self.config.tile_positions();
        let padding = (POSITIONS_MULTIPLE - p % POSITIONS_MULTIPLE) % POSITIONS_MULTIPLE;
        let aspects: Vec<i64> = photos.iter().map(|photo| photo.aspect_ratio_id).collect();
        let aspects_n = Tensor::from_slice(&aspects).to_device(self.compute.device);

        let patches_nkpd = self
            .patch_embedding
            .forward(&self.pixels(photos))
            .flatten(2, 3)
            .transpose(1, 2)
            .view([n, k, p - 1, d]);
        let patches_nkpd = self.before.add_to(&patches_nkpd, &aspects_n);
        let class_nkpd =
            self.class_embedding_d.expand([n, k, 1, d], false).to_kind(self.compute.kind);
        let hidden_nkpd = Tensor::cat(&[class_nkpd, patches_nkpd], 2);
        let hidden_nkpd = self.norm_before.forward(&self.position.add_to(&hidden_nkpd, &aspects_n));
        let padded_nkpd = hidden_nkpd.constant_pad_nd([0, 0, 0, padding]);

        let mask = self.mask(photos, padding);
        let mut hidden_nsd = padded_nkpd.flatten(1, 2);
        let mut outputs = HashMap::new();
        for (index, layer) in self.local.iter().enumerate() {
            hidden_nsd = layer.forward(&hidden_nsd, &mask, adapter);
            if self.config.intermediate_layers.contains(&index) {
                outputs.insert(index, hidden_nsd.shallow_clone());
            }
        }
        let intermediate: Vec<&Tensor> =
            self.config.intermediate_layers.iter().map(|index| &outputs[index]).collect();

        let tiled = |hidden_nsd: &Tensor| hidden_nsd.unflatten(1, [k, p + padding]);
        let hidden_nkpd =
            self.after.add_to(&tiled(&self.norm_after.forward(&hidden_nsd)), &aspects_n);
        let mut hidden_nsd = hidden_nkpd.flatten(1, 2);
        for layer in &self.global {
            hidden_nsd = layer.forward(&hidden_nsd, &mask, adapter);
        }
        let mut features = vec![tiled(&hidden_nsd)];
        if !intermediate.is_empty() {
            features.push(tiled(&Tensor::stack(&intermediate, -1).flatten(2, 3)));
        }
        Tensor::cat(&features, -1).narrow(2, 0, p)
    }

    /// `[n·k, c, y, x]` in the running dtype.
    fn pixels(&self, photos: &[PhotoTiles]) -> Tensor {
        let VisionConfig { tiles_max, channels, tile_size, .. } = self.config;
        let shape = [tiles_max, channels, tile_size, tile_size];
        let photos: Vec<Tensor> =
            photos.iter().map(|photo| Tensor::from_slice(&photo.pixels).view(shape)).collect();
        Tensor::cat(&photos, 0).to_device(self.compute.device).to_kind(self.compute.kind)
    }

    /// `[n, 1, s, s]`: padding and empty tiles don't attend to each other. Whatever shows
    /// something attends to everything, padding included, as the model was trained.
    fn mask(&self, photos: &[PhotoTiles], padding: i64) -> Tensor {
        let (n, k, p) = (photos.len() as i64, self.config.tiles_max, self.config.tile_positions());
        let empty_nkp = Tensor::ones([n, k, p + padding], (Kind::Bool, self.compute.device));
        for (i, photo) in photos.iter().enumerate() {
            let photo_kp = empty_nkp.get(i as i64);
            let _ = photo_kp.narrow(0, 0, photo.tiles as i64).narrow(1, 0, p).fill_(0);
        }
        let empty_ns = empty_nkp.flatten(1, 2);
        let apart_nss = empty_ns.unsqueeze(2).logical_and(&empty_ns.unsqueeze(1));
        apart_nss
            .zeros_like()
            .to_kind(self.compute.kind)
            .masked_fill(&apart_nss, f64::NEG_INFINITY)
            .unsqueeze(1)
    }
}

/// Learned vectors per tile and aspect ratio, gated.
struct TileEmbedding {
    table: Embedding,
    gate: Gate,
    tiles: i64,
    width: i64,
}

impl TileEmbedding {
    fn load(
        weights: &Weights,
        aspect_ratios: i64,
        tiles: i64,
        width: i64,
    ) -> Result<Self, LoadError> {
        let table = Embedding::load(&weights.at("embedding"), aspect_ratios + 1, tiles * width)?;
        Ok(Self { table, gate: Gate::load(weights, "gate")?, tiles, width })
    }

    fn add_to(&self, hidden_nkpd: &Tensor, aspects_n: &Tensor) -> Tensor {
        let tile_nkpd = self.table.forward(aspects_n).view([-1, self.tiles, 1, self.width]);
        hidden_nkpd + self.gate.weigh(&tile_nkpd)
    }
}

/// Learned vectors per position, and per tile, position and aspect ratio, balanced by one gate.
struct PositionEmbedding {
    embedding_pd: Tensor,
    tile_table: Embedding,
    gate: Gate,
    tiles: i64,
}

impl PositionEmbedding {
    fn load(weights: &Weights, config: &VisionConfig) -> Result<Self, LoadError> {
        let (positions, width, tiles) = (config.tile_positions(), config.width, config.tiles_max);
        let tile_width = tiles * positions * width;
        Ok(Self {
            embedding_pd: weights.parameter("embedding", &[positions, width], EMBEDDING_INITIAL)?,
            tile_table: Embedding::load(
                &weights.at("tile_embedding"),
                config.aspect_ratios + 1,
                tile_width,
            )?,
            gate: Gate::load(weights, "gate")?,
            tiles,
        })
    }

    fn add_to(&self, hidden_nkpd: &Tensor, aspects_n: &Tensor) -> Tensor {
        let gate = self.gate.openness(hidden_nkpd);
        let embedding_pd = self.embedding_pd.to_kind(hidden_nkpd.kind());
        let (positions, width) = self.embedding_pd.size2().expect("a matrix");
        let tile_nkpd = self.tile_table.forward(aspects_n).view([-1, self.tiles, positions, width]);
        let everywhere_pd = (gate.ones_like() - &gate) * embedding_pd;
        hidden_nkpd + everywhere_pd + gate * tile_nkpd
    }
}

/// Whether a layer's two residual branches are gated.
#[derive(Clone, Copy)]
enum Gates {
    Absent,
    Present,
}

/// One pre-norm transformer layer.
struct Layer {
    heads: i64,
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_gate: Option<Gate>,
    feed_forward_norm: LayerNorm,
    widen: Linear,
    activation: VisionActivation,
    narrow: Linear,
    feed_forward_gate: Option<Gate>,
}

impl Layer {
    fn load(weights: &Weights, config: &VisionConfig, gates: Gates) -> Result<Self, LoadError> {
        let VisionConfig { width, feed_forward_width: wide, norm_epsilon: epsilon, .. } = *config;
        let attention = weights.at("self_attn");
        let projection = |name| Linear::load(&attention.at(name), width, width, Bias::No);
        let gate = |name| match gates {
            Gates::Absent => Ok(None),
            Gates::Present => Gate::load(weights, name).map(Some),
        };
        let norm = |name| LayerNorm::load(&weights.at(name), width, epsilon);
        Ok(Self {
            heads: config.heads,
            attention_norm: norm("input_layernorm")?,
            query: projection("q_proj")?,
            key: projection("k_proj")?,
            value: projection("v_proj")?,
            output: projection("o_proj")?,
            attention_gate: gate("gate_attn")?,
            feed_forward_norm: norm("post_attention_layernorm")?,
            widen: Linear::load(&weights.at("mlp.fc1"), width, wide, Bias::Yes)?,
            activation: config.activation,
            narrow: Linear::load(&weights.at("mlp.fc2"), wide, width, Bias::Yes)?,
            feed_forward_gate: gate("gate_ffn")?,
        })
    }

    fn forward(&self, hidden_nsd: &Tensor, mask: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let attended = self.attend(&self.attention_norm.forward(hidden_nsd), mask, adapter);
        let hidden_nsd = hidden_nsd + gated(self.attention_gate.as_ref(), attended);
        let wide = self.widen.forward(&self.feed_forward_norm.forward(&hidden_nsd), adapter);
        let wide = match self.activation {
            VisionActivation::Gelu => wide.gelu("none"),
            VisionActivation::GeluTanh => wide.gelu("tanh"),
        };
        let fed = self.narrow.forward(&wide, adapter);
        hidden_nsd + gated(self.feed_forward_gate.as_ref(), fed)
    }

    fn attend(&self, x_nsd: &Tensor, mask: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let heads = |projection: &Linear| {
            projection.forward(x_nsd, adapter).unflatten(-1, [self.heads, -1]).transpose(1, 2)
        };
        let (query, key, value) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let attended = attend(&query, &key, &value, Mask::Additive(mask));
        self.output.forward(&attended.transpose(1, 2).flatten(2, 3), adapter)
    }
}

fn gated(gate: Option<&Gate>, branch: Tensor) -> Tensor {
    match gate {
        None => branch,
        Some(gate) => gate.weigh(&branch),
    }
}
