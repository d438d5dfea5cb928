//! The diffusion transformer, on photos and their gold captions, with or without the CLIP encoders.
//!
//! Axes in names: b photo, c channel, h and w height and width.

use std::collections::HashMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::place;
use super::vae::own_side;
use crate::config::{DiffusionLoss, Switch, TextEncoders, Training, WrittenPrecision};
use crate::data::Example;
use crate::prompt::CaptionTokenizers;
use crate::stable_diffusion::{LatentDistribution, Part, StableDiffusion3, StableDiffusion3Config};
use crate::tokens::CaptionIds;
use crate::torch::Compute;
use crate::training::parts::Parts;
use crate::training::pictures::{PhotoItem, load_all, photos};
use crate::training::rectified_flow::{error_by_photo, noise_level, noised};
use crate::training::{
    Batch, Counts, Measures, MicroLoss, Objective, ObjectiveError, Parameters, Purpose,
    StepContext, TrainError,
};

/// Latents that are kept once they were computed.
const CACHE_BYTES_MAX: usize = 2 << 30;

/// Learns the transformer from the captioned photos of a dataset.
pub struct DiffusionObjective {
    parts: Parts,
    parameters: Parameters,
    model: StableDiffusion3,
    compute: Compute,
    photos: Vec<PhotoItem>,
    captions: Vec<CaptionIds>,
    /// Of each photo, where its caption is cut.
    notes: Vec<Option<String>>,
    empty_caption: CaptionIds,
    size: [i64; 2],
    loss: DiffusionLoss,
    micro_batch: usize,
    precision: WrittenPrecision,
    /// Mean and log variance of latents, `[2c, h, w]` on the CPU, by photo and mirroring.
    cache: HashMap<(usize, bool), Tensor>,
}

/// Photos as latents with what they are to be drawn from.
pub struct CaptionedLatents {
    /// Normalised, float32.
    latents_bchw: Tensor,
    captions: Vec<CaptionIds>,
    /// Of each photo in the step's batch.
    places: Vec<u64>,
}

impl DiffusionObjective {
    /// Opens the image generator of the model directory `model`.
    ///
    /// # Errors
    /// If a part can't be read, or the autoencoder has no weights yet.
    pub fn load(
        model: &Path,
        examples: &[Example],
        settings: &Training,
        compute: Compute,
    ) -> Result<Self, TrainError> {
        let directory = model.join("diffusion");
        let config = StableDiffusion3Config::read(&directory)?;
        let parts = Parts::new(model, settings.begin, settings.seed);
        let encoders = settings.pictures.text_encoders;
        let open = |part: Part, compute: Compute| match part {
            Part::Transformer => parts.trained(place(part), compute, &[""]),
            Part::ClipL | Part::ClipG if encoders == TextEncoders::Trained => {
                parts.trained(place(part), compute, &[""])
            }
            Part::ClipL | Part::ClipG | Part::T5 | Part::Vae => parts.frozen(place(part), compute),
        };
        let side = settings.pictures.picture_px.map_or_else(|| own_side(&config), i64::from);
        let mut model = StableDiffusion3::from_weights(config, compute, open)?;
        model.set_activations(super::activations(settings));
        let side_px = u32::try_from(side).unwrap_or(u32::MAX);
        model
            .latents_shape(Some((side_px, side_px)))
            .map_err(|error| TrainError::Setting(format!("diffusion.picture_px: {error}")))?;

        let tokenizers = CaptionTokenizers::load(&directory).map_err(super::unusable)?;
        let encode = |caption: &str| tokenizers.encode(caption);
        let mut photos = photos(examples);
        photos.retain(|photo| photo.caption.is_some());
        let captions = photos
            .iter()
            .map(|photo| encode(photo.caption.as_deref().unwrap_or_default()))
            .collect::<Result<_, _>>()
            .map_err(super::unusable)?;
        let notes = photos.iter().map(|photo| super::caption_note(photo, &tokenizers)).collect();
        Ok(Self {
            notes,
            parameters: parts.parameters(),
            parts,
            model,
            compute,
            captions,
            empty_caption: encode("").map_err(super::unusable)?,
            photos,
            size: [side, side],
            loss: settings.pictures.clone(),
            micro_batch: settings.micro_batch_examples,
            precision: settings.written,
            cache: HashMap::new(),
        })
    }

    /// Mean and log variance of the latents of the photos `keys`, `[2c, h, w]` each, where they can
    /// be loaded.
    fn moments(
        &mut self,
        keys: &[(usize, bool)],
        left_out: &mut Vec<String>,
    ) -> Vec<Option<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let new: Vec<_> = keys.iter().filter(|key| !self.cache.contains_key(*key)).collect();
        let mut made = HashMap::new();
        for chunk in new.chunks(self.micro_batch) {
            let chosen: Vec<&PhotoItem> = chunk.iter().map(|key| &self.photos[key.0]).collect();
            let loaded = load_all(&chosen, self.size, self.compute.device, left_out);
            let Some((pictures_bchw, kept)) = loaded else { continue };
            for (row, place) in kept.into_iter().enumerate() {
                let key = *chunk[place];
                let picture_1chw = pictures_bchw.narrow(0, row as i64, 1);
                let picture_1chw = if key.1 { picture_1chw.flip([3]) } else { picture_1chw };
                let latents = self.model.vae().encode(&(picture_1chw * 2.0 - 1.0));
                let moments = [latents.mean_bchw, latents.log_variance_bchw];
                let moments = Tensor::cat(&moments, 1).squeeze_dim(0).to_device(Device::Cpu);
                made.insert(key, moments);
            }
        }
        let found = |key| self.cache.get(key).or_else(|| made.get(key)).map(Tensor::shallow_clone);
        let moments: Vec<Option<Tensor>> = keys.iter().map(found).collect();
        let bytes = |tensor: &Tensor| tensor.numel() * 4;
        if let Some(one) = made.values().next()
            && (self.cache.len() + made.len()) * bytes(one) <= CACHE_BYTES_MAX
        {
            self.cache.extend(made);
        }
        moments
    }
}

impl Objective for DiffusionObjective {
    type MicroBatch = CaptionedLatents;

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
    ) -> Result<Batch<CaptionedLatents>, ObjectiveError> {
        let mut batch = Batch::default();
        for (index, chunk) in places.chunks(self.micro_batch).enumerate() {
            let first = (index * self.micro_batch) as u64;
            let mirrored = |place| {
                self.loss.mirrored == Switch::On && step.draws.uniform(Purpose::Flip, place) < 0.5
            };
            let keys: Vec<(usize, bool)> =
                (first..).zip(chunk).map(|(place, &photo)| (photo, mirrored(place))).collect();
            let (mut latents, mut captions, mut kept) = (Vec::new(), Vec::new(), Vec::new());
            let moments = self.moments(&keys, &mut batch.left_out);
            for ((place, (photo, _)), moments) in (first..).zip(keys).zip(moments) {
                let Some(moments) = moments else { continue };
                let halves = moments.unsqueeze(0).chunk(2, 1);
                let [mean_bchw, log_variance_bchw] = [&halves[0], &halves[1]].map(Tensor::copy);
                let distribution = LatentDistribution { mean_bchw, log_variance_bchw };
                let size = distribution.mean_bchw.size();
                let noise = step.draws.generator(Purpose::Latents, place).randn(&size);
                latents.push(self.model.vae().normalise(&distribution.sample(&noise)));
                let dropped =
                    step.draws.uniform(Purpose::CaptionDropout, place) < self.loss.caption_dropout;
                let caption = if dropped { &self.empty_caption } else { &self.captions[photo] };
                captions.push(caption.clone());
                batch.left_out.extend(self.notes[photo].clone());
                kept.push(place);
            }
            if kept.is_empty() {
                continue;
            }
            let counts = Counts { tokens: 0, photos: kept.len() as u64 };
            let latents_bchw = Tensor::cat(&latents, 0);
            batch.push(CaptionedLatents { latents_bchw, captions, places: kept }, counts);
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        micro_batch: &CaptionedLatents,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let CaptionedLatents { latents_bchw, captions, places } = micro_batch;
        let shift = self.model.config().scheduler.shift;
        let levels: Vec<f32> = places
            .iter()
            .map(|&place| noise_level(&self.loss, shift, &step.draws, place) as f32)
            .collect();
        let size = &latents_bchw.size()[1..];
        let noise: Vec<Tensor> = places
            .iter()
            .map(|&place| step.draws.generator(Purpose::Noise, place).randn(size))
            .collect();
        let noised = noised(latents_bchw, &Tensor::stack(&noise, 0), Tensor::from_slice(&levels));
        let device = self.compute.device;
        let on_device = |tensor: &Tensor| tensor.to_device(device);
        let sigmas_b = on_device(&noised.sigmas_b);
        for (name, tensor) in [
            ("latents", latents_bchw),
            ("sigmas", &noised.sigmas_b),
            ("noised_latents", &noised.latents_bchw),
            ("target", &noised.target_bchw),
        ] {
            step.recorder.keep(name, || tensor.shallow_clone());
        }
        step.recorder.keep("clip_l_ids", || {
            let ids: Vec<&[i64]> = captions.iter().map(|ids| ids.clip_l.as_slice()).collect();
            Tensor::from_slice(&ids.concat()).view([places.len() as i64, -1])
        });

        let conditioning = self.model.encode(captions);
        let latents_bchw = on_device(&noised.latents_bchw);
        let velocity = self.model.velocity(&latents_bchw, &sigmas_b, &conditioning, None);
        let error_b = error_by_photo(&velocity, &on_device(&noised.target_bchw));
        let sum = error_b.sum(Kind::Float);
        let mut measures = Measures::default();
        measures.add("picture_loss", sum.double_value(&[]), places.len() as f64);
        Ok(MicroLoss { loss: sum / counts.photos as f64, measures, probes: Vec::new() })
    }

    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        self.parts.write(parameters, out, self.precision, |_| Ok(()))
    }
}
