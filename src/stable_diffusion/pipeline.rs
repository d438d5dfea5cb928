//! All parts of Stable Diffusion 3 together (diffusers' `StableDiffusion3Pipeline`, without its
//! tokenizers).
//!
//! Axes: b batch, t position, d width, c channel, h and w height and width.

use std::path::Path;

use tch::{Kind, Tensor};

use super::clip::ClipTextEncoder;
use super::conditioning::{EmbeddedCaptions, TextConditioning};
use super::config::StableDiffusion3Config;
use super::mmdit::Mmdit;
use super::part::Part;
use super::sampler::{Cancelled, Guided, StepWatcher, sample};
use super::schedule::FlowMatchSchedule;
use super::size::SizeError;
use super::t5::T5Encoder;
use super::vae::Vae;
use crate::nn::{Activations, Adapter};
use crate::tokens::CaptionIds;
use crate::torch::{Compute, LoadError, Weights};

/// Stable Diffusion 3, loaded. The VAE is in float32, everything else in the running format.
pub struct StableDiffusion3 {
    config: StableDiffusion3Config,
    compute: Compute,
    clip_l: ClipTextEncoder,
    clip_g: ClipTextEncoder,
    t5: Option<T5Encoder>,
    mmdit: Mmdit,
    vae: Vae,
}

impl StableDiffusion3 {
    /// Loads a diffusers pipeline: `model_index.json`, `transformer/`, `vae/`, `text_encoder/`,
    /// `text_encoder_2/`, `scheduler/` and, where the index names it, `text_encoder_3/`.
    pub fn load(dir: &Path, compute: Compute) -> Result<Self, LoadError> {
        let config = StableDiffusion3Config::read(dir)?;
        Self::from_weights(config, compute, |part, compute| {
            Ok(Weights::new(part.open(dir)?, compute))
        })
    }

    /// A pipeline of random weights, for benchmarks.
    pub fn random(config: StableDiffusion3Config, compute: Compute) -> Result<Self, LoadError> {
        Self::from_weights(config, compute, |_, compute| Ok(Weights::random(compute)))
    }

    /// Builds the pipeline over what `open` gives for each part, asked for in what it is to run in:
    /// the VAE in float32, the others in `compute`.
    pub fn from_weights(
        config: StableDiffusion3Config,
        compute: Compute,
        open: impl Fn(Part, Compute) -> Result<Weights, LoadError>,
    ) -> Result<Self, LoadError> {
        let clip = |part: Part, config| {
            let weights = open(part, compute)?;
            let encoder = ClipTextEncoder::load(&weights, config)?;
            weights.finish(part.ignored()).map(|()| encoder)
        };
        let t5 = |config| {
            let weights = open(Part::T5, compute)?;
            let encoder = T5Encoder::load(&weights, config)?;
            weights.finish(Part::T5.ignored()).map(|()| encoder)
        };
        let transformer = open(Part::Transformer, compute)?;
        let mmdit = Mmdit::load(&transformer, &config.transformer)?;
        transformer.finish(Part::Transformer.ignored())?;
        let autoencoder = open(Part::Vae, Compute { kind: Kind::Float, ..compute })?;
        let vae = Vae::load(&autoencoder, &config.vae)?;
        autoencoder.finish(Part::Vae.ignored())?;
        Ok(Self {
            clip_l: clip(Part::ClipL, &config.clip_l)?,
            clip_g: clip(Part::ClipG, &config.clip_g)?,
            t5: config.t5.as_ref().map(t5).transpose()?,
            mmdit,
            vae,
            config,
            compute,
        })
    }

    /// What training passes through the transformer keep for the backward pass from now on.
    pub fn set_activations(&mut self, activations: Activations) {
        self.mmdit.set_activations(activations);
    }

    /// The configurations of all parts.
    pub fn config(&self) -> &StableDiffusion3Config {
        &self.config
    }

    /// CLIP-L.
    pub fn clip_l(&self) -> &ClipTextEncoder {
        &self.clip_l
    }

    /// CLIP-G.
    pub fn clip_g(&self) -> &ClipTextEncoder {
        &self.clip_g
    }

    /// The denoising transformer.
    pub fn mmdit(&self) -> &Mmdit {
        &self.mmdit
    }

    /// The picture autoencoder.
    pub fn vae(&self) -> &Vae {
        &self.vae
    }

    /// As [`StableDiffusion3Config::latents_shape`].
    pub fn latents_shape(&self, size: Option<(u32, u32)>) -> Result<[i64; 3], SizeError> {
        self.config.latents_shape(size)
    }

    /// What the transformer is told of `captions`, one at least. The encoders carry no adapter.
    /// Panics on ids beyond an encoder's vocabulary.
    pub fn encode(&self, captions: &[CaptionIds]) -> TextConditioning {
        let table = |ids: Vec<&[i64]>| {
            let rows = ids.len() as i64;
            Tensor::from_slice(&ids.concat()).view([rows, -1]).to_device(self.compute.device)
        };
        let clip = |encoder: &ClipTextEncoder, pick: fn(&CaptionIds) -> &[i64]| {
            let ids: Vec<&[i64]> = captions.iter().map(pick).collect();
            let ends: Vec<i64> = ids.iter().map(|ids| encoder.end_of_text(ids)).collect();
            (encoder.tokens().forward(&table(ids)), ends)
        };
        let (clip_l_btd, clip_l_ends) = clip(&self.clip_l, |caption| &caption.clip_l);
        let (clip_g_btd, clip_g_ends) = clip(&self.clip_g, |caption| &caption.clip_g);
        let t5_ids: Option<Vec<&[i64]>> =
            captions.iter().map(|caption| caption.t5.as_deref()).collect();
        self.encode_embedded(&EmbeddedCaptions {
            clip_l_btd: &clip_l_btd,
            clip_l_ends: &clip_l_ends,
            clip_g_btd: &clip_g_btd,
            clip_g_ends: &clip_g_ends,
            t5_ids_bt: t5_ids.map(table).as_ref(),
        })
    }

    /// As `encode`, from token embeddings, to which gradients flow from hidden states and pooled
    /// vectors. T5's hidden states are zeros where the pipeline has no T5 or the captions no ids
    /// for it.
    pub fn encode_embedded(&self, captions: &EmbeddedCaptions<'_>) -> TextConditioning {
        let l = self.clip_l.forward(captions.clip_l_btd, captions.clip_l_ends);
        let g = self.clip_g.forward(captions.clip_g_btd, captions.clip_g_ends);
        let clip_btd = Tensor::cat(&[l.penultimate_btd, g.penultimate_btd], -1);
        let pooled_bp = Tensor::cat(&[l.pooled_bp, g.pooled_bp], -1);
        let t5_btd = match (&self.t5, captions.t5_ids_bt) {
            (Some(t5), Some(ids_bt)) => Some(t5.forward(ids_bt)),
            _ => None,
        };
        let joint = self.config.transformer.joint_attention_dim;
        TextConditioning::assemble(&clip_btd, t5_btd.as_ref(), pooled_bp, joint)
    }

    /// The velocity at `latents_bchw` of noise levels `sigmas_b` (0…1, float32), for training:
    /// everything may carry gradients.
    pub fn velocity(
        &self,
        latents_bchw: &Tensor,
        sigmas_b: &Tensor,
        captions: &TextConditioning,
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let timesteps_b = sigmas_b * f64::from(self.config.scheduler.num_train_timesteps);
        let latents_bchw = latents_bchw.to_kind(self.compute.kind);
        self.mmdit.forward(
            &latents_bchw,
            &timesteps_b,
            captions.context(),
            captions.pooled(),
            adapter,
        )
    }

    /// Draws: from standard normal `latents_bchw` (see `latents_shape`) to clean ones, in `steps`
    /// steps. The watcher is asked after every step.
    pub fn draw(
        &self,
        guided: &Guided<'_>,
        latents_bchw: &Tensor,
        steps: usize,
        adapter: Option<&Adapter>,
        watcher: &mut StepWatcher<'_>,
    ) -> Result<Tensor, Cancelled> {
        let schedule = FlowMatchSchedule::new(&self.config.scheduler, steps);
        let latents_bchw = latents_bchw.to_device(self.compute.device);
        sample(&self.mmdit, &schedule, &latents_bchw, guided, adapter, watcher)
    }

    /// Clean latents `[b, c, h, w]` to pictures `[b, 3, h, w]` in 0…1, float32.
    pub fn decode(&self, latents_bchw: &Tensor) -> Tensor {
        let latents_bchw = self.vae.denormalise(&latents_bchw.to_kind(Kind::Float));
        (self.vae.decode(&latents_bchw) / 2.0 + 0.5).clamp(0.0, 1.0)
    }

    /// Pictures `[b, 3, h, w]` in 0…1, float32, to clean latents `[b, c, h, w]`, float32: a draw
    /// from their distribution with standard normal `noise_bchw`, its mean without.
    pub fn encode_image(&self, pictures_bchw: &Tensor, noise_bchw: Option<&Tensor>) -> Tensor {
        let latents = self.vae.encode(&(pictures_bchw * 2.0 - 1.0));
        let latents_bchw = match noise_bchw {
            None => latents.mean_bchw,
            Some(noise_bchw) => latents.sample(noise_bchw),
        };
        self.vae.normalise(&latents_bchw)
    }
}
