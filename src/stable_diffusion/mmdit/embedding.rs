//! How latents, noise levels and pooled texts enter the transformer.

use tch::{Kind, Tensor};

use super::super::config::MmditConfig;
use crate::nn::{Adapter, Bias, Conv2d, ConvShape, Linear, timestep_embedding};
use crate::torch::{LoadError, Weights};

/// Width of the sinusoidal embedding of noise levels.
const TIMESTEP_WIDTH: i64 = 256;

/// Latents to patches with positions.
pub(super) struct PatchEmbedding {
    projection: Conv2d,
    positions: Positions,
    patch: i64,
    width: i64,
}

/// Where position embeddings come from.
enum Positions {
    /// The middle of a stored table `[side, side, d]`.
    Stored(Tensor),
    /// Computed for every size, over a unit grid of this side.
    Computed { base: i64 },
}

impl PatchEmbedding {
    pub(super) fn load(weights: &Weights, config: &MmditConfig) -> Result<Self, LoadError> {
        let (width, patch) = (config.width(), config.patch_size);
        let shape = ConvShape {
            inputs: config.in_channels,
            outputs: width,
            kernel: patch,
            stride: patch,
            padding: 0,
            bias: Bias::Yes,
        };
        let base = config.sample_size / patch;
        let positions = match config.pos_embed_max_size {
            Some(side) if side > 0 => Positions::Stored(
                weights
                    .buffer("pos_embed", &[1, side * side, width], || {
                        computed_positions(side, side, base, width).unsqueeze(0)
                    })?
                    .view([side, side, width]),
            ),
            _ => Positions::Computed { base },
        };
        let projection = Conv2d::load(&weights.at("proj"), shape)?;
        Ok(Self { projection, positions, patch, width })
    }

    /// `latents_bchw` to `[b, t, d]`, row by row.
    pub(super) fn forward(&self, latents_bchw: &Tensor) -> Tensor {
        let patches_bdhw = self.projection.forward(latents_bchw);
        let (h, w) = (latents_bchw.size()[2] / self.patch, latents_bchw.size()[3] / self.patch);
        let positions_td = match &self.positions {
            Positions::Stored(table) => {
                let side = table.size()[0];
                table
                    .narrow(0, (side - h) / 2, h)
                    .narrow(1, (side - w) / 2, w)
                    .reshape([h * w, self.width])
            }
            Positions::Computed { base } => computed_positions(h, w, *base, self.width)
                .to_device(latents_bchw.device())
                .to_kind(patches_bdhw.kind()),
        };
        patches_bdhw.flatten(2, 3).transpose(1, 2) + positions_td
    }
}

/// Sines and cosines of the column in the first half of the width and of the row in the second;
/// the grid is stretched so that its sides are `base` long: `[h·w, width]` in float32.
fn computed_positions(h: i64, w: i64, base: i64, width: i64) -> Tensor {
    let quarter = width / 4;
    let double = (Kind::Double, tch::Device::Cpu);
    let frequencies =
        (Tensor::arange(quarter, double) * (-(10_000_f64.ln()) / quarter as f64)).exp();
    let along = |n: i64| {
        let places = Tensor::arange(n, (Kind::Float, tch::Device::Cpu)) / (n as f64 / base as f64);
        let angles = places.to_kind(Kind::Double).unsqueeze(-1) * &frequencies;
        Tensor::cat(&[angles.sin(), angles.cos()], -1)
    };
    let columns = along(w).unsqueeze(0).expand([h, w, width / 2], false);
    let rows = along(h).unsqueeze(1).expand([h, w, width / 2], false);
    Tensor::cat(&[columns, rows], -1).reshape([h * w, width]).to_kind(Kind::Float)
}

/// Noise level and pooled text to one vector.
pub(super) struct Conditioner {
    timestep: [Linear; 2],
    text: [Linear; 2],
}

impl Conditioner {
    pub(super) fn load(weights: &Weights, pooled: i64, width: i64) -> Result<Self, LoadError> {
        let pair = |name: &str, inputs: i64| -> Result<_, LoadError> {
            let weights = weights.at(name);
            Ok([
                Linear::load(&weights.at("linear_1"), inputs, width, Bias::Yes)?,
                Linear::load(&weights.at("linear_2"), width, width, Bias::Yes)?,
            ])
        };
        Ok(Self {
            timestep: pair("timestep_embedder", TIMESTEP_WIDTH)?,
            text: pair("text_embedder", pooled)?,
        })
    }

    /// `timesteps_r` and `pooled_rp` to `[r, d]` in the pooled text's format.
    pub(super) fn forward(
        &self,
        timesteps_r: &Tensor,
        pooled_rp: &Tensor,
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let pass = |layers: &[Linear; 2], x: &Tensor| {
            layers[1].forward(&layers[0].forward(x, adapter).silu(), adapter)
        };
        let waves = timestep_embedding(timesteps_r, TIMESTEP_WIDTH).to_kind(pooled_rp.kind());
        pass(&self.timestep, &waves) + pass(&self.text, pooled_rp)
    }
}
