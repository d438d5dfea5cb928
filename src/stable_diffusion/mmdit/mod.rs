//! The multimodal diffusion transformer (Esser et al., 2024; diffusers' `SD3Transformer2DModel`).
//!
//! Patches of the latents and text tokens are two streams with weights of their own that attend
//! over both together. All that depends on the noise level and the pooled text alone, the
//! modulations, is computed apart from the pass over the latents: a sampler knows its noise levels
//! beforehand and reads those weights (a third of all) once a picture instead of once a step.
//!
//! Axes: b batch, t position, d width, h and w height and width, c channel, p within a patch, r
//! row of a modulation table.

mod attention;
mod block;
mod embedding;

use tch::Tensor;

use self::attention::LastPosition;
use self::block::{Block, BlockModulation, chunks, modulate};
use self::embedding::{Conditioner, PatchEmbedding};
use super::config::MmditConfig;
use crate::nn::{Activations, Adapter, Bias, LayerNorm, Linear};
use crate::torch::{Initial, LoadError, Weights};

/// Epsilon of every normalisation in the network.
const EPSILON: f64 = 1e-6;

/// Text tokens, of which the last may stand for several equal ones.
///
/// Text positions carry no position embedding here, so that equal tokens stay equal through all
/// layers: the zeros that stand in for an absent T5 need one row, however many they are.
pub struct Context {
    /// `[b, t, joint]`, or `[b, t, d]` once embedded.
    pub tokens_btd: Tensor,
    /// How many tokens the last one stands for; at least 1.
    pub last_count: i64,
}

impl Context {
    /// Tokens that each stand for themselves.
    pub fn plain(tokens_btd: Tensor) -> Self {
        Self { tokens_btd, last_count: 1 }
    }
}

/// Scales, shifts and gates of every block for several rows (steps × batch).
pub struct Modulations {
    blocks: Vec<BlockModulation>,
    out_rd: Tensor,
}

impl Modulations {
    /// Rows `start .. start + length`.
    #[must_use]
    pub fn rows(&self, start: i64, length: i64) -> Self {
        Self {
            blocks: self.blocks.iter().map(|block| block.rows(start, length)).collect(),
            out_rd: self.out_rd.narrow(0, start, length),
        }
    }
}

/// The network.
pub struct Mmdit {
    patches: PatchEmbedding,
    conditioner: Conditioner,
    context: Linear,
    blocks: Vec<Block>,
    out_modulation: Linear,
    out_norm: LayerNorm,
    out: Linear,
    patch: i64,
    channels: i64,
    activations: Activations,
}

impl Mmdit {
    /// Reads the network; names are those of `diffusion_pytorch_model.safetensors`.
    pub fn load(weights: &Weights, config: &MmditConfig) -> Result<Self, LoadError> {
        let d = config.width();
        let (patch, channels) = (config.patch_size, config.outputs());
        let blocks = weights.at("transformer_blocks");
        Ok(Self {
            patches: PatchEmbedding::load(&weights.at("pos_embed"), config)?,
            conditioner: Conditioner::load(
                &weights.at("time_text_embed"),
                config.pooled_projection_dim,
                d,
            )?,
            context: Linear::load(
                &weights.at("context_embedder"),
                config.joint_attention_dim,
                d,
                Bias::Yes,
            )?,
            blocks: (0..config.num_layers)
                .map(|i| Block::load(&blocks.at(i), config, i))
                .collect::<Result<_, _>>()?,
            out_modulation: Linear::load_from(
                &weights.at("norm_out.linear"),
                d,
                2 * d,
                Bias::Yes,
                Initial::Zeros,
            )?,
            out_norm: LayerNorm::plain(d, EPSILON),
            out: Linear::load_from(
                &weights.at("proj_out"),
                d,
                patch * patch * channels,
                Bias::Yes,
                Initial::Zeros,
            )?,
            patch,
            channels,
            activations: Activations::default(),
        })
    }

    /// What training passes keep for the backward pass from now on.
    pub fn set_activations(&mut self, activations: Activations) {
        self.activations = activations;
    }

    /// The velocity at `latents_bchw` (standard normal at full noise; h and w multiples of the
    /// patch), in the network's format.
    ///
    /// `timesteps_b` are noise levels times the number of training timesteps, float32;
    /// `pooled_bp` the pooled text. Everything may carry gradients.
    pub fn forward(
        &self,
        latents_bchw: &Tensor,
        timesteps_b: &Tensor,
        context: &Context,
        pooled_bp: &Tensor,
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let modulations = self.modulations(timesteps_b, pooled_bp, adapter);
        let context = self.embed_context(context, adapter);
        self.forward_modulated(latents_bchw, &context, &modulations, adapter)
    }

    /// The text tokens as the blocks take them.
    pub fn embed_context(&self, context: &Context, adapter: Option<&Adapter>) -> Context {
        Context { tokens_btd: self.context.forward(&context.tokens_btd, adapter), ..*context }
    }

    /// Modulations of all blocks for rows of a timestep and a pooled text each.
    pub fn modulations(
        &self,
        timesteps_r: &Tensor,
        pooled_rp: &Tensor,
        adapter: Option<&Adapter>,
    ) -> Modulations {
        let condition_rd = self.conditioner.forward(timesteps_r, pooled_rp, adapter).silu();
        Modulations {
            blocks: self
                .blocks
                .iter()
                .map(|block| block.modulation(&condition_rd, adapter))
                .collect(),
            out_rd: self.out_modulation.forward(&condition_rd, adapter),
        }
    }

    /// `forward` with an embedded context and the batch's rows of the modulations.
    pub fn forward_modulated(
        &self,
        latents_bchw: &Tensor,
        context: &Context,
        modulations: &Modulations,
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let mut image_btd = self.patches.forward(latents_bchw);
        let mut text_btd = context.tokens_btd.shallow_clone();
        let last = LastPosition::new(context.last_count, image_btd.size()[1], &text_btd);
        for (block, modulation) in self.blocks.iter().zip(&modulations.blocks) {
            let (image, text) = match self.activations {
                Activations::Keep => {
                    block.forward(&image_btd, &text_btd, &last, modulation, adapter)
                }
                Activations::Recompute => {
                    block.forward_recomputed(image_btd, &text_btd, &last, modulation, adapter)
                }
            };
            image_btd = image;
            text_btd = text.unwrap_or(text_btd);
        }
        let [scale, shift] = chunks(&modulations.out_rd);
        let image_btd = modulate(&self.out_norm.forward(&image_btd), &shift, &scale);
        let (h, w) = (latents_bchw.size()[2], latents_bchw.size()[3]);
        self.unpatchify(&self.out.forward(&image_btd, adapter), h / self.patch, w / self.patch)
    }

    /// Patches `[b, h·w, p·p·c]` back to latents `[b, c, h·p, w·p]`.
    fn unpatchify(&self, patches: &Tensor, h: i64, w: i64) -> Tensor {
        let (b, p, c) = (patches.size()[0], self.patch, self.channels);
        let patches_bhwppc = patches.view([b, h, w, p, p, c]);
        patches_bhwppc.permute([0, 5, 1, 3, 2, 4]).reshape([b, c, h * p, w * p])
    }
}
