//! The decoder of Llama 3.2 Vision: self-attention layers over the text, and gated cross-attention
//! layers that read the photos.
//!
//! Reference: transformers, models/mllama/modeling_mllama.py, `MllamaTextModel`.
//!
//! Axes in names: b sequence, t position, s attended position, d width, h query head, g key head,
//! e head width, v vocabulary.

use tch::Tensor;

use super::cache::{Cache, LayerCache, PhotoKeys, TextKeys};
use super::config::{Embeddings, TextConfig};
use super::reading::Reading;
use crate::nn::{
    Activations, Adapter, Bias, Embedding, Gate, Linear, Mask, RmsNorm, Rotary, attend,
};
use crate::torch::{LoadError, Weights, recompute};

/// What all layers need to know about one pass over some positions.
pub(super) struct Pass<'a> {
    /// The positions' angles.
    pub(super) rotary: Rotary,
    /// What the positions may attend to of the text.
    pub(super) mask: Mask<'a>,
    /// What they see of the photos; without any photo the cross-attention layers are skipped.
    pub(super) photos: Option<PhotoPass<'a>>,
    /// The adapter of this call.
    pub(super) adapter: Option<&'a Adapter>,
}

/// How a pass sees photos.
pub(super) struct PhotoPass<'a> {
    /// Where its keys and values come from.
    pub(super) source: PhotoSource<'a>,
    /// `[b, t, 1]`, 0 for the positions before the first photo and 1 for the others; `None` where
    /// it would be 1 throughout.
    pub(super) seeing_bt1: Option<&'a Tensor>,
}

/// Where a pass takes the photos' keys and values from.
#[derive(Clone, Copy)]
pub(super) enum PhotoSource<'a> {
    /// They are computed from the states `[1, s, d]` of all photos of the batch, and what will be
    /// seen from now on is kept if there is a cache.
    States(&'a Tensor, &'a [Reading]),
    /// They lie in the cache; every position sees all that is kept for its sequence.
    Kept,
}

/// A pass without a cache that owns what it needs, for layers that are computed again when nothing
/// else is left of the call. The photos' states are handed over apart.
struct OwnedPass {
    rotary: Rotary,
    /// `None` is causal.
    mask: Option<Tensor>,
    photos: Option<(Vec<Reading>, Option<Tensor>)>,
    adapter: Option<Adapter>,
}

impl OwnedPass {
    fn of(pass: &Pass<'_>) -> Self {
        Self {
            rotary: pass.rotary.clone(),
            mask: match pass.mask {
                Mask::Additive(mask) => Some(mask.shallow_clone()),
                Mask::Causal => None,
                Mask::None => unreachable!("several positions without a cache are masked"),
            },
            photos: pass.photos.as_ref().map(|photos| match photos.source {
                PhotoSource::States(_, readings) => {
                    (readings.to_vec(), photos.seeing_bt1.map(Tensor::shallow_clone))
                }
                PhotoSource::Kept => unreachable!("there is no cache"),
            }),
            adapter: pass.adapter.cloned(),
        }
    }

    fn with_states<'a>(&'a self, states_1sd: Option<&'a Tensor>) -> Pass<'a> {
        let photos = states_1sd.zip(self.photos.as_ref());
        Pass {
            rotary: self.rotary.clone(),
            mask: self.mask.as_ref().map_or(Mask::Causal, Mask::Additive),
            photos: photos.map(|(states_1sd, (readings, seeing_bt1))| PhotoPass {
                source: PhotoSource::States(states_1sd, readings),
                seeing_bt1: seeing_bt1.as_ref(),
            }),
            adapter: self.adapter.as_ref(),
        }
    }
}

/// Embedding, layers, norm and head.
pub(super) struct Decoder {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
    activations: Activations,
}

impl Decoder {
    /// Reads `model.…` and `lm_head.weight` below `weights`.
    pub(super) fn load(weights: &Weights, config: &TextConfig) -> Result<Self, LoadError> {
        let model = weights.at("model");
        let rows = config.vocabulary + TextConfig::EXTRA_ROWS;
        let embedding = Embedding::load(&model.at("embed_tokens"), rows, config.width)?;
        let layers = (0..config.layers)
            .map(|index| Layer::load(&model.at("layers").at(index), config, index))
            .collect::<Result<_, _>>()?;
        let head = weights.at("lm_head");
        let head = if config.embeddings == Embeddings::Tied && !head.has("weight") {
            Linear::sharing(&head, embedding.weight(), config.vocabulary)
        } else {
            Linear::load(&head, config.width, config.vocabulary, Bias::No)?
        };
        let norm = RmsNorm::load(&model.at("norm"), config.width, config.rms_norm_epsilon)?;
        Ok(Self { embedding, layers, norm, head, activations: Activations::default() })
    }

    /// The two tables with a row per token, by name: embedding `[v + 8, d]` and head `[v, d]`.
    pub(super) fn token_tables(&self) -> [(&str, Tensor); 2] {
        let (embedding, head) = (&self.embedding, &self.head);
        [(embedding.name(), embedding.weight().shallow_clone()), (head.name(), head.weight())]
    }

    /// A cache with nothing in it.
    pub(super) fn empty_cache(&self) -> Cache {
        let empty = |layer: &Layer| match layer.reads {
            Reads::Text(_) => LayerCache::Text(TextKeys::default()),
            Reads::Photos(_) => LayerCache::Photos(PhotoKeys::new()),
        };
        Cache { layers: self.layers.iter().map(empty).collect() }
    }

    /// `ids_bt` (int64) to the normalised hidden states `[b, t, d]` after the last layer. With a
    /// cache, the positions follow those that it holds and are added to it.
    pub(super) fn forward(
        &self,
        ids_bt: &Tensor,
        pass: &Pass<'_>,
        mut cache: Option<&mut Cache>,
    ) -> Tensor {
        let mut hidden_btd = self.embedding.forward_adapted(ids_bt, pass.adapter);
        for (index, layer) in self.layers.iter().enumerate() {
            let kept = cache.as_deref_mut().map(|cache| &mut cache.layers[index]);
            hidden_btd = match (self.activations, kept) {
                (Activations::Recompute, None) => layer.forward_recomputed(hidden_btd, pass),
                (_, kept) => layer.forward(hidden_btd, pass, kept),
            };
        }
        self.norm.forward(&hidden_btd)
    }

    /// What training passes keep from now on; passes without gradients and with a cache are as
    /// they were.
    pub(super) fn set_activations(&mut self, activations: Activations) {
        self.activations = activations;
    }

    /// Hidden states `[.., d]` to logits `[.., v]` in the running dtype.
    pub(super) fn logits(&self, hidden: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        self.head.forward(hidden, adapter)
    }
}

/// One pre-norm decoder layer.
#[derive(Clone)]
struct Layer {
    attention_norm: RmsNorm,
    reads: Reads,
    feed_forward_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// What a layer's attention reads.
#[derive(Clone)]
enum Reads {
    Text(Attention),
    Photos(CrossAttention),
}

impl Layer {
    fn load(weights: &Weights, config: &TextConfig, index: usize) -> Result<Self, LoadError> {
        let (width, wide) = (config.width, config.feed_forward_width);
        let norm = |name| RmsNorm::load(&weights.at(name), width, config.rms_norm_epsilon);
        let mlp = weights.at("mlp");
        Ok(Self {
            attention_norm: norm("input_layernorm")?,
            reads: if config.cross_attention_layers.contains(&index) {
                Reads::Photos(CrossAttention::load(weights, config)?)
            } else {
                Reads::Text(Attention::load(&weights.at("self_attn"), config)?)
            },
            feed_forward_norm: norm("post_attention_layernorm")?,
            gate: Linear::load(&mlp.at("gate_proj"), width, wide, Bias::No)?,
            up: Linear::load(&mlp.at("up_proj"), width, wide, Bias::No)?,
            down: Linear::load(&mlp.at("down_proj"), wide, width, Bias::No)?,
        })
    }

    /// As `forward` without a cache, keeping nothing but what goes in.
    fn forward_recomputed(&self, x_btd: Tensor, pass: &Pass<'_>) -> Tensor {
        let mut inputs = vec![x_btd];
        if let Some(PhotoPass { source: PhotoSource::States(states_1sd, _), .. }) = pass.photos {
            inputs.push(states_1sd.shallow_clone());
        }
        let (layer, pass) = (self.clone(), OwnedPass::of(pass));
        let mut outputs = recompute(&inputs, move |inputs| {
            let pass = pass.with_states(inputs.get(1));
            vec![layer.forward(inputs[0].shallow_clone(), &pass, None)]
        });
        outputs.pop().expect("the block above makes one tensor")
    }

    fn forward(&self, x_btd: Tensor, pass: &Pass<'_>, kept: Option<&mut LayerCache>) -> Tensor {
        match (&self.reads, kept) {
            (Reads::Text(attention), kept) => {
                let keys = kept.map(|kept| match kept {
                    LayerCache::Text(keys) => keys,
                    LayerCache::Photos(_) => unreachable!("made by `empty_cache`"),
                });
                let attended = attention.forward(&self.attention_norm.forward(&x_btd), pass, keys);
                let x_btd = x_btd + attended;
                let fed = self.feed_forward(&x_btd, pass.adapter);
                x_btd + fed
            }
            (Reads::Photos(attention), kept) => {
                let Some(photos) = &pass.photos else { return x_btd };
                let keys = kept.map(|kept| match kept {
                    LayerCache::Photos(keys) => keys,
                    LayerCache::Text(_) => unreachable!("made by `empty_cache`"),
                });
                let normed = self.attention_norm.forward(&x_btd);
                let attended = attention.forward(&normed, photos.source, keys, pass.adapter);
                let x_btd = x_btd + attention.attention_gate.weigh(&attended);
                let fed = self.feed_forward(&x_btd, pass.adapter);
                let fed = match photos.seeing_bt1 {
                    Some(seeing_bt1) => fed * seeing_bt1,
                    None => fed,
                };
                x_btd + attention.feed_forward_gate.weigh(&fed)
            }
        }
    }

    fn feed_forward(&self, x_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let x_btd = self.feed_forward_norm.forward(x_btd);
        let gate = self.gate.forward(&x_btd, adapter).silu();
        self.down.forward(&(gate * self.up.forward(&x_btd, adapter)), adapter)
    }
}

/// `[b, t, heads · e]` to `[b, heads, t, e]`.
fn split_heads(x: &Tensor, head_width: i64) -> Tensor {
    x.unflatten(-1, [-1, head_width]).transpose(1, 2)
}

/// `[b, heads, t, e]` to `[b, t, heads · e]`.
fn join_heads(x: &Tensor) -> Tensor {
    x.transpose(1, 2).flatten(2, 3)
}

/// Grouped-query self-attention with rotary positions.
#[derive(Clone)]
struct Attention {
    head_width: i64,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

impl Attention {
    fn load(weights: &Weights, config: &TextConfig) -> Result<Self, LoadError> {
        let (width, key_width) = (config.width, config.key_heads * config.head_width());
        let linear =
            |name, inputs, outputs| Linear::load(&weights.at(name), inputs, outputs, Bias::No);
        Ok(Self {
            head_width: config.head_width(),
            query: linear("q_proj", width, width)?,
            key: linear("k_proj", width, key_width)?,
            value: linear("v_proj", width, key_width)?,
            output: linear("o_proj", width, width)?,
        })
    }

    fn forward(&self, x_btd: &Tensor, pass: &Pass<'_>, kept: Option<&mut TextKeys>) -> Tensor {
        let heads =
            |linear: &Linear| split_heads(&linear.forward(x_btd, pass.adapter), self.head_width);
        let query_bhte = pass.rotary.turn(&heads(&self.query));
        let key_bgte = pass.rotary.turn(&heads(&self.key));
        let value_bgte = heads(&self.value);
        let (key_bgse, value_bgse) = match kept {
            Some(kept) => kept.append(&key_bgte, &value_bgte),
            None => (key_bgte, value_bgte),
        };
        let attended_bhte = attend(&query_bhte, &key_bgse, &value_bgse, pass.mask);
        self.output.forward(&join_heads(&attended_bhte), pass.adapter)
    }
}

/// Cross-attention from the text to the photos, queries and keys normalised, with the gates of
/// the layer that it stands in.
#[derive(Clone)]
struct CrossAttention {
    attention: Attention,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    attention_gate: Gate,
    feed_forward_gate: Gate,
}

impl CrossAttention {
    fn load(weights: &Weights, config: &TextConfig) -> Result<Self, LoadError> {
        let attention = weights.at("cross_attn");
        let norm =
            |name| RmsNorm::load(&attention.at(name), config.head_width(), config.rms_norm_epsilon);
        Ok(Self {
            query_norm: norm("q_norm")?,
            key_norm: norm("k_norm")?,
            attention: Attention::load(&attention, config)?,
            attention_gate: Gate::load(weights, "cross_attn_attn_gate")?,
            feed_forward_gate: Gate::load(weights, "cross_attn_mlp_gate")?,
        })
    }

    fn forward(
        &self,
        x_btd: &Tensor,
        source: PhotoSource<'_>,
        kept: Option<&mut PhotoKeys>,
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let Attention { head_width, query, output, .. } = &self.attention;
        let query_bhte =
            self.query_norm.forward(&split_heads(&query.forward(x_btd, adapter), *head_width));
        let attended_bhte = match source {
            PhotoSource::States(states, readings) => {
                let (key_gse, value_gse) = self.keys(states, adapter);
                if let Some(kept) = kept {
                    *kept = readings.iter().map(|row| row.last(&key_gse, &value_gse)).collect();
                }
                let rows: Vec<Tensor> = readings
                    .iter()
                    .zip(query_bhte.split(1, 0))
                    .map(|(row, query)| row.attend(&query, &key_gse, &value_gse))
                    .collect();
                Tensor::cat(&rows, 0)
            }
            PhotoSource::Kept => attend_kept(&query_bhte, kept.expect("a cache holds the photos")),
        };
        output.forward(&join_heads(&attended_bhte), adapter)
    }

    /// Keys and values `[1, g, s, e]` of all photos of the batch.
    fn keys(&self, states_1sd: &Tensor, adapter: Option<&Adapter>) -> (Tensor, Tensor) {
        let Attention { head_width, key, value, .. } = &self.attention;
        // One use a layer, so that gradients add up in the same order whether layers are computed
        // again or not.
        let states_1sd = &states_1sd.alias();
        let key = split_heads(&key.forward(states_1sd, adapter), *head_width);
        let value = split_heads(&value.forward(states_1sd, adapter), *head_width);
        (self.key_norm.forward(&key), value)
    }
}

/// Attention of `query_bhte` to what is kept of the photos for each sequence.
fn attend_kept(query_bhte: &Tensor, kept: &PhotoKeys) -> Tensor {
    if let [Some((key, value))] = kept.as_slice() {
        // One entry for all: with t = 1 the sequences stand in as the positions of one.
        return match query_bhte.size()[0] {
            1 => attend(query_bhte, key, value, Mask::None),
            _ => attend(&query_bhte.transpose(0, 2), key, value, Mask::None).transpose(0, 2),
        };
    }
    let rows: Vec<Tensor> = kept
        .iter()
        .zip(query_bhte.split(1, 0))
        .map(|(kept, query)| match kept {
            Some((key, value)) => attend(&query, key, value, Mask::None),
            None => query.zeros_like(),
        })
        .collect();
    Tensor::cat(&rows, 0)
}
