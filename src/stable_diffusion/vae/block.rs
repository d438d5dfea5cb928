//! Residual blocks, resolutions and the middle of the autoencoder.
//!
//! Axes: b batch, c channel, h and w height and width, t position.

use tch::Tensor;

use super::super::config::VaeConfig;
use super::{EPSILON, convolution};
use crate::nn::{Bias, Conv2d, ConvShape, GroupNorm, Linear, Mask, attend};
use crate::torch::{LoadError, Weights};

/// Two convolutions around a shortcut.
struct Residual {
    norms: [GroupNorm; 2],
    convolutions: [Conv2d; 2],
    /// Where the number of channels changes.
    shortcut: Option<Conv2d>,
}

impl Residual {
    fn load(weights: &Weights, groups: i64, inputs: i64, outputs: i64) -> Result<Self, LoadError> {
        let norm =
            |name: &str, channels| GroupNorm::load(&weights.at(name), groups, channels, EPSILON);
        let convolve = |name: &str, inputs, kernel| {
            Conv2d::load(&weights.at(name), convolution(inputs, outputs, kernel))
        };
        Ok(Self {
            norms: [norm("norm1", inputs)?, norm("norm2", outputs)?],
            convolutions: [convolve("conv1", inputs, 3)?, convolve("conv2", outputs, 3)?],
            shortcut: (inputs != outputs)
                .then(|| convolve("conv_shortcut", inputs, 1))
                .transpose()?,
        })
    }

    fn forward(&self, x_bchw: &Tensor) -> Tensor {
        let y = self.convolutions[0].forward(&self.norms[0].forward(x_bchw).silu());
        let y = self.convolutions[1].forward(&self.norms[1].forward(&y).silu());
        match &self.shortcut {
            None => x_bchw + y,
            Some(shortcut) => shortcut.forward(x_bchw) + y,
        }
    }
}

/// How a resolution hands over to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resample {
    /// Half the size, by a strided convolution.
    Down,
    /// Twice the size, by repetition and a convolution.
    Up,
    /// As it is.
    Keep,
}

/// The residual blocks at one resolution.
pub(super) struct Level {
    blocks: Vec<Residual>,
    resample: Resample,
    resampler: Option<Conv2d>,
}

impl Level {
    pub(super) fn load(
        weights: &Weights,
        config: &VaeConfig,
        [inputs, outputs]: [i64; 2],
        count: usize,
        resample: Resample,
    ) -> Result<Self, LoadError> {
        let blocks = weights.at("resnets");
        let block = |i: usize| {
            let inputs = if i == 0 { inputs } else { outputs };
            Residual::load(&blocks.at(i), config.norm_num_groups, inputs, outputs)
        };
        let same = convolution(outputs, outputs, 3);
        let resampler = match resample {
            Resample::Down => {
                let shape = ConvShape { stride: 2, padding: 0, ..same };
                Some(Conv2d::load(&weights.at("downsamplers.0.conv"), shape)?)
            }
            Resample::Up => Some(Conv2d::load(&weights.at("upsamplers.0.conv"), same)?),
            Resample::Keep => None,
        };
        let blocks = (0..count).map(block).collect::<Result<_, _>>()?;
        Ok(Self { blocks, resample, resampler })
    }

    pub(super) fn forward(&self, x_bchw: Tensor) -> Tensor {
        let x = self.blocks.iter().fold(x_bchw, |x, block| block.forward(&x));
        match (&self.resampler, self.resample) {
            (Some(down), Resample::Down) => {
                // One row and one column of zeros, at the far sides alone.
                down.forward(&x.constant_pad_nd([0, 1, 0, 1]))
            }
            (Some(up), _) => {
                let (h, w) = (x.size()[2], x.size()[3]);
                up.forward(&x.upsample_nearest2d([2 * h, 2 * w], None, None))
            }
            (None, _) => x,
        }
    }
}

/// The coarsest resolution: two residual blocks, with attention between where there is any.
pub(super) struct Middle {
    blocks: [Residual; 2],
    attention: Option<SpatialAttention>,
}

impl Middle {
    pub(super) fn load(weights: &Weights, config: &VaeConfig) -> Result<Self, LoadError> {
        let channels = *config.block_out_channels.last().expect("a VAE has a resolution");
        let groups = config.norm_num_groups;
        let blocks = weights.at("resnets");
        let block = |i: usize| Residual::load(&blocks.at(i), groups, channels, channels);
        let attention = weights.at("attentions.0");
        Ok(Self {
            blocks: [block(0)?, block(1)?],
            attention: config
                .mid_block_add_attention
                .then(|| SpatialAttention::load(&attention, groups, channels))
                .transpose()?,
        })
    }

    pub(super) fn forward(&self, x_bchw: &Tensor) -> Tensor {
        let x = self.blocks[0].forward(x_bchw);
        match &self.attention {
            None => self.blocks[1].forward(&x),
            Some(attention) => self.blocks[1].forward(&attention.forward(&x)),
        }
    }
}

/// Single-headed attention over all positions, added to its input.
struct SpatialAttention {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

impl SpatialAttention {
    fn load(weights: &Weights, groups: i64, channels: i64) -> Result<Self, LoadError> {
        let linear = |name: &str| Linear::load(&weights.at(name), channels, channels, Bias::Yes);
        Ok(Self {
            norm: GroupNorm::load(&weights.at("group_norm"), groups, channels, EPSILON)?,
            query: linear("to_q")?,
            key: linear("to_k")?,
            value: linear("to_v")?,
            output: linear("to_out.0")?,
        })
    }

    fn forward(&self, x_bchw: &Tensor) -> Tensor {
        let (b, c, h, w) = x_bchw.size4().expect("activations have four axes");
        let x_btc = self.norm.forward(x_bchw).permute([0, 2, 3, 1]).reshape([b, h * w, c]);
        let one_head = |layer: &Linear| layer.forward(&x_btc, None).unsqueeze(1);
        let (q, k, v) = (one_head(&self.query), one_head(&self.key), one_head(&self.value));
        let mixed_btc = attend(&q, &k, &v, Mask::None).squeeze_dim(1);
        let y = self.output.forward(&mixed_btc, None).view([b, h, w, c]).permute([0, 3, 1, 2]);
        x_bchw + y
    }
}
