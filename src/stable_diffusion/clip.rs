//! CLIP's text encoders with projection (Radford et al., 2021; transformers'
//! `CLIPTextModelWithProjection`).
//!
//! Axes: b batch, t position, d width, h head, e head width, v token.

use tch::{Kind, Tensor};

use super::config::{ClipActivation, ClipConfig};
use crate::nn::{Bias, Embedding, LayerNorm, Linear, Mask, attend};
use crate::torch::{Initial, LoadError, Weights};

/// The end-of-text id that old configurations carry by mistake.
const EOS_LEGACY: i64 = 2;

/// What a CLIP text encoder makes of a text.
pub struct ClipOutput {
    /// Output of the last layer but one, before any normalisation: `[b, t, d]`.
    pub penultimate_btd: Tensor,
    /// Normalised and projected output at the end of text: `[b, projection]`.
    pub pooled_bp: Tensor,
}

/// A CLIP text encoder. Nothing but the causal mask is masked, padding is seen.
pub struct ClipTextEncoder {
    tokens: Embedding,
    positions_td: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    projection: Linear,
    eos_token_id: i64,
}

impl ClipTextEncoder {
    /// Reads the encoder; names are those of the published `model.safetensors`.
    pub fn load(weights: &Weights, config: &ClipConfig) -> Result<Self, LoadError> {
        let text = weights.at("text_model");
        let embeddings = text.at("embeddings");
        let d = config.hidden_size;
        let layers = text.at("encoder").at("layers");
        Ok(Self {
            tokens: Embedding::load(&embeddings.at("token_embedding"), config.vocab_size, d)?,
            positions_td: embeddings.at("position_embedding").parameter(
                "weight",
                &[config.max_position_embeddings, d],
                Initial::Normal(0.02),
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(&layers.at(i), config))
                .collect::<Result<_, _>>()?,
            final_norm: LayerNorm::load(&text.at("final_layer_norm"), d, config.layer_norm_eps)?,
            projection: Linear::load(
                &weights.at("text_projection"),
                d,
                config.projection_dim,
                Bias::No,
            )?,
            eos_token_id: config.eos_token_id,
        })
    }

    /// The token table.
    pub fn tokens(&self) -> &Embedding {
        &self.tokens
    }

    /// Where the pooled vector is taken from: the first end-of-text id; with the legacy
    /// configuration the first of the largest ids; 0 where there is none.
    pub fn end_of_text(&self, ids: &[i64]) -> i64 {
        let sought = match self.eos_token_id {
            EOS_LEGACY => ids.iter().copied().max().unwrap_or_default(),
            eos => eos,
        };
        ids.iter().position(|&id| id == sought).unwrap_or_default() as i64
    }

    /// Encodes token embeddings `embedded_btd` (without positions; at most as many as the encoder
    /// has), whose texts end at `ends` (one position for each text). Gradients flow to
    /// `embedded_btd` from both outputs.
    pub fn forward(&self, embedded_btd: &Tensor, ends: &[i64]) -> ClipOutput {
        let positions_td = self.positions_td.narrow(0, 0, embedded_btd.size()[1]);
        let mut hidden_btd = embedded_btd + positions_td.to_kind(embedded_btd.kind());
        let mut penultimate_btd = hidden_btd.shallow_clone();
        for layer in &self.layers {
            penultimate_btd = hidden_btd;
            hidden_btd = layer.forward(&penultimate_btd);
        }
        let device = hidden_btd.device();
        let rows = Tensor::arange(ends.len() as i64, (Kind::Int64, device));
        let ends = Tensor::from_slice(ends).to_device(device);
        let last_bd = hidden_btd.index(&[Some(rows), Some(ends)]);
        let pooled_bp = self.projection.forward(&self.final_norm.forward(&last_bd), None);
        ClipOutput { penultimate_btd, pooled_bp }
    }
}

/// One pre-normalised transformer layer.
struct Layer {
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: LayerNorm,
    expand: Linear,
    contract: Linear,
    activation: ClipActivation,
    heads: i64,
}

impl Layer {
    fn load(weights: &Weights, config: &ClipConfig) -> Result<Self, LoadError> {
        let d = config.hidden_size;
        let attention = weights.at("self_attn");
        let square = |name: &str| Linear::load(&attention.at(name), d, d, Bias::Yes);
        let mlp = weights.at("mlp");
        let norm = |name: &str| LayerNorm::load(&weights.at(name), d, config.layer_norm_eps);
        Ok(Self {
            attention_norm: norm("layer_norm1")?,
            query: square("q_proj")?,
            key: square("k_proj")?,
            value: square("v_proj")?,
            output: square("out_proj")?,
            feed_forward_norm: norm("layer_norm2")?,
            expand: Linear::load(&mlp.at("fc1"), d, config.intermediate_size, Bias::Yes)?,
            contract: Linear::load(&mlp.at("fc2"), config.intermediate_size, d, Bias::Yes)?,
            activation: config.hidden_act,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, hidden_btd: &Tensor) -> Tensor {
        let hidden_btd = hidden_btd + self.attention(&self.attention_norm.forward(hidden_btd));
        let expanded = self.expand.forward(&self.feed_forward_norm.forward(&hidden_btd), None);
        let active = match self.activation {
            ClipActivation::QuickGelu => (&expanded * 1.702).sigmoid() * &expanded,
            ClipActivation::Gelu => expanded.gelu("none"),
        };
        hidden_btd + self.contract.forward(&active, None)
    }

    fn attention(&self, x_btd: &Tensor) -> Tensor {
        let (b, t, d) = x_btd.size3().expect("hidden states have three axes");
        let split = |layer: &Linear| {
            let y = layer.forward(x_btd, None);
            y.view([b, t, self.heads, d / self.heads]).transpose(1, 2)
        };
        let (q, k, v) = (split(&self.query), split(&self.key), split(&self.value));
        let mixed_btd = attend(&q, &k, &v, Mask::Causal).transpose(1, 2).reshape([b, t, d]);
        self.output.forward(&mixed_btd, None)
    }
}
