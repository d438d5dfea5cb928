//! The picture autoencoder (diffusers' `AutoencoderKL`), always in float32.
//!
//! Axes: b batch, c channel, h and w height and width.

mod block;

use tch::{Device, Tensor};

use self::block::{Level, Middle, Resample};
use super::config::VaeConfig;
use crate::nn::{Bias, Conv2d, ConvShape, GroupNorm};
use crate::torch::{LoadError, Weights};

/// Epsilon of every normalisation in the network.
const EPSILON: f64 = 1e-6;

/// A normal distribution over latents, before shift and scale.
pub struct LatentDistribution {
    /// `[b, c, h, w]`.
    pub mean_bchw: Tensor,
    /// `[b, c, h, w]`.
    pub log_variance_bchw: Tensor,
}

impl LatentDistribution {
    /// A draw from the distribution, given standard normal noise `[b, c, h, w]`.
    pub fn sample(&self, noise_bchw: &Tensor) -> Tensor {
        &self.mean_bchw + (&self.log_variance_bchw * 0.5).exp() * noise_bchw
    }
}

/// Encoder and decoder.
pub struct Vae {
    encoder: Encoder,
    quant: Option<Conv2d>,
    post_quant: Option<Conv2d>,
    decoder: Decoder,
    scale: f64,
    shift: f64,
}

impl Vae {
    /// Reads the network; names are those of `diffusion_pytorch_model.safetensors`. `weights` must
    /// answer in float32.
    pub fn load(weights: &Weights, config: &VaeConfig) -> Result<Self, LoadError> {
        let pointwise = |name: &str, channels: i64| {
            Conv2d::load(&weights.at(name), convolution(channels, channels, 1))
        };
        let latent = config.latent_channels;
        Ok(Self {
            encoder: Encoder::load(&weights.at("encoder"), config)?,
            quant: config
                .use_quant_conv
                .then(|| pointwise("quant_conv", 2 * latent))
                .transpose()?,
            post_quant: config
                .use_post_quant_conv
                .then(|| pointwise("post_quant_conv", latent))
                .transpose()?,
            decoder: Decoder::load(&weights.at("decoder"), config)?,
            scale: config.scaling_factor,
            shift: config.shift_factor.unwrap_or(0.0),
        })
    }

    /// Pictures `[b, 3, h, w]` in −1…1, float32, to the distribution of their latents.
    pub fn encode(&self, pictures_bchw: &Tensor) -> LatentDistribution {
        let mut moments = self.encoder.forward(pictures_bchw);
        if let Some(quant) = &self.quant {
            moments = quant.forward(&moments);
        }
        let mut halves = moments.chunk(2, 1).into_iter();
        let mut half = || halves.next().expect("moments are mean and log variance");
        LatentDistribution { mean_bchw: half(), log_variance_bchw: half().clamp(-30.0, 20.0) }
    }

    /// Latents as the encoder knows them, float32, to pictures `[b, 3, h, w]` in about −1…1.
    pub fn decode(&self, latents_bchw: &Tensor) -> Tensor {
        match &self.post_quant {
            None => self.decoder.forward(latents_bchw),
            Some(post_quant) => self.decoder.forward(&post_quant.forward(latents_bchw)),
        }
    }

    /// Latents of the encoder to latents of the diffusion: (x − shift) · scale.
    pub fn normalise(&self, latents_bchw: &Tensor) -> Tensor {
        (latents_bchw - self.shift) * self.scale
    }

    /// Latents of the diffusion to latents of the decoder: x / scale + shift.
    pub fn denormalise(&self, latents_bchw: &Tensor) -> Tensor {
        latents_bchw / self.scale + self.shift
    }
}

/// A convolution that keeps the size.
fn convolution(inputs: i64, outputs: i64, kernel: i64) -> ConvShape {
    ConvShape { inputs, outputs, kernel, stride: 1, padding: kernel / 2, bias: Bias::Yes }
}

/// The same values, on the CPU with channels innermost in memory, which its convolutions would
/// otherwise bring about for each activation.
fn arranged(x_bchw: &Tensor) -> Tensor {
    match x_bchw.device() {
        Device::Cpu => x_bchw.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => x_bchw.shallow_clone(),
    }
}

/// What follows the last resolution on both sides.
struct Head {
    norm: GroupNorm,
    out: Conv2d,
}

impl Head {
    fn load(weights: &Weights, groups: i64, inputs: i64, outputs: i64) -> Result<Self, LoadError> {
        Ok(Self {
            norm: GroupNorm::load(&weights.at("conv_norm_out"), groups, inputs, EPSILON)?,
            out: Conv2d::load(&weights.at("conv_out"), convolution(inputs, outputs, 3))?,
        })
    }

    fn forward(&self, x_bchw: &Tensor) -> Tensor {
        self.out.forward(&self.norm.forward(x_bchw).silu())
    }
}

struct Encoder {
    first: Conv2d,
    levels: Vec<Level>,
    middle: Middle,
    head: Head,
}

impl Encoder {
    fn load(weights: &Weights, config: &VaeConfig) -> Result<Self, LoadError> {
        let channels = &config.block_out_channels;
        let (finest, coarsest) = (channels[0], channels[channels.len() - 1]);
        let blocks = weights.at("down_blocks");
        let level = |i: usize| {
            let inputs = channels[i.saturating_sub(1)];
            let last = i + 1 == channels.len();
            let resample = if last { Resample::Keep } else { Resample::Down };
            let count = config.layers_per_block;
            Level::load(&blocks.at(i), config, [inputs, channels[i]], count, resample)
        };
        Ok(Self {
            first: Conv2d::load(
                &weights.at("conv_in"),
                convolution(config.in_channels, finest, 3),
            )?,
            levels: (0..channels.len()).map(level).collect::<Result<_, _>>()?,
            middle: Middle::load(&weights.at("mid_block"), config)?,
            head: Head::load(
                weights,
                config.norm_num_groups,
                coarsest,
                2 * config.latent_channels,
            )?,
        })
    }

    fn forward(&self, pictures_bchw: &Tensor) -> Tensor {
        let mut x = self.first.forward(&arranged(pictures_bchw));
        for level in &self.levels {
            x = level.forward(x);
        }
        self.head.forward(&self.middle.forward(&x))
    }
}

struct Decoder {
    first: Conv2d,
    middle: Middle,
    levels: Vec<Level>,
    head: Head,
}

impl Decoder {
    fn load(weights: &Weights, config: &VaeConfig) -> Result<Self, LoadError> {
        let channels: Vec<i64> = config.block_out_channels.iter().rev().copied().collect();
        let (coarsest, finest) = (channels[0], channels[channels.len() - 1]);
        let blocks = weights.at("up_blocks");
        let level = |i: usize| {
            let inputs = channels[i.saturating_sub(1)];
            let last = i + 1 == channels.len();
            let resample = if last { Resample::Keep } else { Resample::Up };
            let count = config.layers_per_block + 1;
            Level::load(&blocks.at(i), config, [inputs, channels[i]], count, resample)
        };
        Ok(Self {
            first: Conv2d::load(
                &weights.at("conv_in"),
                convolution(config.latent_channels, coarsest, 3),
            )?,
            middle: Middle::load(&weights.at("mid_block"), config)?,
            levels: (0..channels.len()).map(level).collect::<Result<_, _>>()?,
            head: Head::load(weights, config.norm_num_groups, finest, config.out_channels)?,
        })
    }

    fn forward(&self, latents_bchw: &Tensor) -> Tensor {
        let mut x = self.middle.forward(&self.first.forward(&arranged(latents_bchw)));
        for level in &self.levels {
            x = level.forward(x);
        }
        self.head.forward(&x).contiguous()
    }
}
