//! T5's encoder, version 1.1 (Raffel et al., 2020; transformers' `T5EncoderModel`).
//!
//! Axes: b batch, t position, s attended position, d width, h head, e head width.

use tch::{Kind, Tensor};

use super::config::T5Config;
use crate::nn::{Bias, Embedding, Linear, Mask, RmsNorm, attend_scaled};
use crate::torch::{LoadError, Weights};

/// The encoder half of T5. Nothing is masked, padding is seen.
pub struct T5Encoder {
    tokens: Embedding,
    position_bias: Embedding,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    buckets: i64,
    distance_max: i64,
}

impl T5Encoder {
    /// Reads the encoder. Files hold the token table as `shared`, as `encoder.embed_tokens` or as
    /// both; they are one and the same.
    pub fn load(weights: &Weights, config: &T5Config) -> Result<Self, LoadError> {
        let encoder = weights.at("encoder");
        let tokens = match weights.at("shared") {
            shared if shared.has("weight") => shared,
            _ => encoder.at("embed_tokens"),
        };
        let blocks = encoder.at("block");
        Ok(Self {
            tokens: Embedding::load(&tokens, config.vocab_size, config.d_model)?,
            position_bias: Embedding::load(
                &blocks.at("0.layer.0.SelfAttention.relative_attention_bias"),
                config.relative_attention_num_buckets,
                config.num_heads,
            )?,
            blocks: (0..config.num_layers)
                .map(|i| Block::load(&blocks.at(i).at("layer"), config))
                .collect::<Result<_, _>>()?,
            final_norm: RmsNorm::load(
                &encoder.at("final_layer_norm"),
                config.d_model,
                config.layer_norm_epsilon,
            )?,
            buckets: config.relative_attention_num_buckets,
            distance_max: config.relative_attention_max_distance,
        })
    }

    /// Names that a file may hold although nothing reads them: the token table's second name.
    pub const IGNORED: &[&str] = &["embed_tokens.weight"];

    /// `ids_bt`, int64, to hidden states `[b, t, d]`.
    pub fn forward(&self, ids_bt: &Tensor) -> Tensor {
        let mut hidden_btd = self.tokens.forward(ids_bt);
        let bias_1hts = self.relative_bias(&hidden_btd);
        for block in &self.blocks {
            hidden_btd = block.forward(&hidden_btd, &bias_1hts);
        }
        self.final_norm.forward(&hidden_btd)
    }

    /// What each head adds to its scores by relative position: `[1, h, t, s]`.
    fn relative_bias(&self, hidden_btd: &Tensor) -> Tensor {
        let t = hidden_btd.size()[1];
        let device = hidden_btd.device();
        let positions = Tensor::arange(t, (Kind::Int64, device));
        let relative_ts = positions.unsqueeze(0) - positions.unsqueeze(1);
        let buckets_ts = relative_buckets(&relative_ts, self.buckets, self.distance_max);
        self.position_bias.forward(&buckets_ts).permute([2, 0, 1]).unsqueeze(0).contiguous()
    }
}

/// Buckets of relative positions (key minus query), half of them for each direction: near ones
/// have their own, farther ones share logarithmically wider ones, and from `distance_max` on all
/// are one.
fn relative_buckets(relative: &Tensor, buckets: i64, distance_max: i64) -> Tensor {
    let half = buckets / 2;
    let exact = half / 2;
    let distance = relative.abs();
    // In the reference's order of operations, since a rounding at a bucket's edge would show.
    let octaves = (distance.to_kind(Kind::Float) / exact as f64).log();
    let far = octaves / (distance_max as f64 / exact as f64).ln() * (half - exact) as f64;
    let far = (far.clamp_min(0.0).to_kind(Kind::Int64) + exact).clamp_max(half - 1);
    relative.gt(0).to_kind(Kind::Int64) * half + distance.where_self(&distance.lt(exact), &far)
}

/// Self-attention and a gated feed-forward part, both pre-normalised.
struct Block {
    attention_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: RmsNorm,
    gate: Linear,
    expand: Linear,
    contract: Linear,
    heads: i64,
}

impl Block {
    fn load(weights: &Weights, config: &T5Config) -> Result<Self, LoadError> {
        let (d, inner) = (config.d_model, config.num_heads * config.d_kv);
        let (attention, feed_forward) = (weights.at(0), weights.at(1));
        let linear =
            |weights: &Weights, inputs, outputs| Linear::load(weights, inputs, outputs, Bias::No);
        let norm = |weights: &Weights| {
            RmsNorm::load(&weights.at("layer_norm"), d, config.layer_norm_epsilon)
        };
        let (inside, dense) = (attention.at("SelfAttention"), feed_forward.at("DenseReluDense"));
        Ok(Self {
            attention_norm: norm(&attention)?,
            query: linear(&inside.at("q"), d, inner)?,
            key: linear(&inside.at("k"), d, inner)?,
            value: linear(&inside.at("v"), d, inner)?,
            output: linear(&inside.at("o"), inner, d)?,
            feed_forward_norm: norm(&feed_forward)?,
            gate: linear(&dense.at("wi_0"), d, config.d_ff)?,
            expand: linear(&dense.at("wi_1"), d, config.d_ff)?,
            contract: linear(&dense.at("wo"), config.d_ff, d)?,
            heads: config.num_heads,
        })
    }

    fn forward(&self, hidden_btd: &Tensor, bias_1hts: &Tensor) -> Tensor {
        let normed = self.attention_norm.forward(hidden_btd);
        let hidden_btd = hidden_btd + self.attention(&normed, bias_1hts);
        let normed = self.feed_forward_norm.forward(&hidden_btd);
        let gate = self.gate.forward(&normed, None).gelu("tanh");
        hidden_btd + self.contract.forward(&(gate * self.expand.forward(&normed, None)), None)
    }

    /// Scores are not scaled: the weights carry the factor.
    fn attention(&self, x_btd: &Tensor, bias_1hts: &Tensor) -> Tensor {
        let (b, t, _) = x_btd.size3().expect("hidden states have three axes");
        let split = |layer: &Linear| {
            layer.forward(x_btd, None).view([b, t, self.heads, -1]).transpose(1, 2)
        };
        let (q, k, v) = (split(&self.query), split(&self.key), split(&self.value));
        let mixed = attend_scaled(&q, &k, &v, Mask::Additive(bias_1hts), Some(1.0));
        self.output.forward(&mixed.transpose(1, 2).reshape([b, t, -1]), None)
    }
}
