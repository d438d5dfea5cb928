//! The picture autoencoder: pictures come back as they were, from latents near a normal
//! distribution (Kingma and Welling, 2014; Rombach et al., 2022, appendix G, without the
//! discriminator). Always in float32.
//!
//! Axes in names: b photo, c channel, h and w height and width.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tch::{Kind, Tensor, no_grad};

use super::place;
use crate::config::{Training, VaeLoss, WrittenPrecision};
use crate::data::Example;
use crate::stable_diffusion::{Part, StableDiffusion3Config, Vae};
use crate::torch::{Checkpoint, Compute, Weights};
use crate::training::parts::Parts;
use crate::training::pictures::{PhotoItem, load_all, photos};
use crate::training::{
    Batch, Counts, Measures, MicroLoss, Objective, ObjectiveError, Parameters, Purpose,
    StepContext, TrainError,
};

/// Photos that the latents' mean and deviation are taken of.
const SCALE_PHOTOS_MAX: usize = 1024;

/// Learns the autoencoder from all photos of a dataset.
pub struct VaeObjective {
    parts: Parts,
    parameters: Parameters,
    vae: Vae,
    config: StableDiffusion3Config,
    compute: Compute,
    photos: Vec<PhotoItem>,
    size: [i64; 2],
    loss: VaeLoss,
    micro_batch: usize,
    precision: WrittenPrecision,
}

/// Pictures, and the place of each in the step's batch.
pub struct Pictures {
    /// `[b, 3, h, w]` in 0…1, float32.
    pictures_bchw: Tensor,
    places: Vec<u64>,
}

impl VaeObjective {
    /// Opens the autoencoder of the model directory `model`.
    ///
    /// # Errors
    /// If its configuration or weights can't be read.
    pub fn load(
        model: &Path,
        examples: &[Example],
        settings: &Training,
        compute: Compute,
    ) -> Result<Self, TrainError> {
        let config = StableDiffusion3Config::read(&model.join("diffusion"))?;
        let compute = Compute { kind: Kind::Float, ..compute };
        let parts = Parts::new(model, settings.begin, settings.seed);
        let weights = parts.trained(place(Part::Vae), compute, &[""])?;
        let vae = Vae::load(&weights, &config.vae)?;
        weights.finish(&[])?;
        let side = settings.pictures.picture_px.map_or_else(|| own_side(&config), i64::from);
        let multiple = config.vae.downscale();
        if side % multiple != 0 {
            let reason = format!(
                "diffusion.picture_px is {side}; it must be one of the multiples of {multiple}"
            );
            return Err(TrainError::Setting(reason));
        }
        Ok(Self {
            parameters: parts.parameters(),
            parts,
            vae,
            compute,
            photos: photos(examples),
            size: [side, side],
            loss: settings.vae.clone(),
            micro_batch: settings.micro_batch_examples,
            precision: settings.written,
            config,
        })
    }

    /// Mean and standard deviation of draws of the latents of the dataset's first photos, by the
    /// autoencoder in `folder`.
    fn scale(&self, folder: &Path) -> Result<Option<(f64, f64)>, ObjectiveError> {
        let stem = Part::Vae.stem();
        let weights = Weights::new(Checkpoint::open(folder, stem)?, self.compute);
        let vae = Vae::load(&weights, &self.config.vae)?;
        let _no_grad = tch::no_grad_guard();
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for chunk in self.photos[..self.photos.len().min(SCALE_PHOTOS_MAX)].chunks(32) {
            let chosen: Vec<&PhotoItem> = chunk.iter().collect();
            let loaded = load_all(&chosen, self.size, self.compute.device, &mut Vec::new());
            if let Some((pictures_bchw, _)) = loaded {
                let latents = vae.encode(&(pictures_bchw * 2.0 - 1.0));
                means.push(latents.mean_bchw.flatten(0, -1).to_kind(Kind::Double));
                variances.push(latents.log_variance_bchw.exp().flatten(0, -1));
            }
        }
        if means.is_empty() {
            return Ok(None);
        }
        let (means, variances) = (Tensor::cat(&means, 0), Tensor::cat(&variances, 0));
        let mean = means.mean(Kind::Double).double_value(&[]);
        // Of a draw: the spread of the means, and that around each of them.
        let variance = means.var(false) + variances.mean(Kind::Double);
        Ok(Some((mean, variance.sqrt().double_value(&[]))))
    }
}

/// Side of the model's own pictures in pixels.
pub(in crate::training) fn own_side(config: &StableDiffusion3Config) -> i64 {
    config.transformer.sample_size * config.vae.downscale()
}

impl Objective for VaeObjective {
    type MicroBatch = Pictures;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn bases(&self) -> Vec<(String, String)> {
        self.parts.bases()
    }

    fn examples(&self) -> usize {
        self.photos.len()
    }

    fn prepare(
        &mut self,
        places: &[usize],
        step: &StepContext,
    ) -> Result<Batch<Pictures>, ObjectiveError> {
        let mut batch = Batch::default();
        for (index, chunk) in places.chunks(self.micro_batch).enumerate() {
            let chosen: Vec<&PhotoItem> = chunk.iter().map(|&place| &self.photos[place]).collect();
            let first = (index * self.micro_batch) as u64;
            let loaded = load_all(&chosen, self.size, self.compute.device, &mut batch.left_out);
            let Some((pictures_bchw, kept)) = loaded else { continue };
            step.recorder.keep("pictures", || pictures_bchw.shallow_clone());
            let counts = Counts { tokens: 0, photos: kept.len() as u64 };
            let places = kept.into_iter().map(|place| first + place as u64).collect();
            batch.push(Pictures { pictures_bchw, places }, counts);
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        micro_batch: &Pictures,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let target_bchw = &micro_batch.pictures_bchw * 2.0 - 1.0;
        let latents = self.vae.encode(&target_bchw);
        let shape_chw = &latents.mean_bchw.size()[1..];
        let noise: Vec<Tensor> = micro_batch
            .places
            .iter()
            .map(|&place| step.draws.generator(Purpose::Latents, place).randn(shape_chw))
            .collect();
        let noise_bchw = Tensor::stack(&noise, 0).to_device(self.compute.device);
        step.recorder.keep("latent_noise", || noise_bchw.shallow_clone());

        let error_bchw = self.vae.decode(&latents.sample(&noise_bchw)) - target_bchw;
        let mean = |x: &Tensor| x.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
        let (absolute_b, square_b) = (mean(&error_bchw.abs()), mean(&error_bchw.square()));
        // KL(N(μ, σ²) ‖ N(0, 1)) of every latent.
        let log_variance = &latents.log_variance_bchw;
        let divergence_b =
            mean(&((latents.mean_bchw.square() + log_variance.exp() - 1.0 - log_variance) * 0.5));

        let mut measures = Measures::default();
        let mut total = Tensor::zeros([], (Kind::Float, self.compute.device));
        for (name, weight, values_b) in [
            ("absolute_error", self.loss.absolute_weight, absolute_b),
            ("square_error", self.loss.square_weight, square_b),
            ("divergence", self.loss.divergence_weight, divergence_b),
        ] {
            let sum = values_b.sum(Kind::Float);
            measures.add(name, sum.double_value(&[]), micro_batch.places.len() as f64);
            total += sum * weight;
        }
        Ok(MicroLoss { loss: total / counts.photos as f64, measures, probes: Vec::new() })
    }

    /// Also writes the latents' shift and scale into the configuration, so that the diffusion
    /// transformer sees them with mean 0 and deviation 1.
    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        self.parts.write(parameters, out, self.precision, |model| {
            let folder = model.join(place(Part::Vae).folder);
            let Some((shift, deviation)) = no_grad(|| self.scale(&folder))? else { return Ok(()) };
            let path = folder.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
            config["shift_factor"] = json!(shift);
            config["scaling_factor"] = json!(1.0 / deviation.max(f64::MIN_POSITIVE));
            Ok(fs::write(&path, serde_json::to_vec_pretty(&config)?)?)
        })
    }
}
