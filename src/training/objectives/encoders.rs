//! Text and vision encoders by contrast: a caption's pooled vector should be nearer to its own
//! photo than to the others of the micro-batch, and the other way round (Radford et al., 2021,
//! figure 3).
//!
//! The image tower is the language model's vision encoder, averaged over what a photo shows and
//! projected into each CLIP encoder's space; the projections serve here alone and are not written.
//! A small world repeats its captions, so photos with one caption in common are all right answers.
//!
//! Axes in names: b photo, k tile, p position, f feature, e common width.

use std::path::Path;
use std::sync::Arc;

use tch::{Kind, Tensor, no_grad};

use super::place;
use crate::config::{Training, WrittenPrecision};
use crate::data::Example;
use crate::dialogue::Pixels;
use crate::llama_vision::{BUFFERS, Config, LlamaVision, PhotoTiles};
use crate::nn::{Bias, Linear};
use crate::prompt::{CaptionTokenizers, Detail, ImageProcessor};
use crate::stable_diffusion::{ClipTextEncoder, Part, StableDiffusion3Config};
use crate::tokens::CaptionIds;
use crate::torch::{Compute, Weights};
use crate::training::parts::{LLAMA, Parts};
use crate::training::pictures::{PhotoItem, photos};
use crate::training::{
    Batch, Counts, Measures, MicroLoss, Objective, ObjectiveError, Parameters, StepContext,
    TrainError,
};

/// Largest factor of the similarities, as CLIP has it.
const SCALE_MAX: f64 = 100.0;
/// What of the language model is trained.
const VISION: &str = "vision_model.";

/// One CLIP encoder with its half of the contrast.
struct Side {
    encoder: ClipTextEncoder,
    /// From the vision encoder's features to the encoder's pooled vectors.
    projection: Linear,
    /// Natural logarithm of the similarities' factor, a scalar.
    log_scale: Tensor,
    ids: fn(&CaptionIds) -> &[i64],
}

/// Learns both CLIP encoders and the vision encoder from the captioned photos of a dataset.
pub struct EncodersObjective {
    parts: Parts,
    parameters: Parameters,
    llama: LlamaVision,
    processor: ImageProcessor,
    sides: [Side; 2],
    compute: Compute,
    photos: Vec<PhotoItem>,
    captions: Vec<CaptionIds>,
    /// Of each photo, where its caption is cut.
    notes: Vec<Option<String>>,
    micro_batch: usize,
    precision: WrittenPrecision,
}

/// Photos in tiles and their captions.
pub struct Pairs {
    photos: Vec<PhotoTiles>,
    captions: Vec<CaptionIds>,
}

impl EncodersObjective {
    /// Opens the encoders of the model directory `model`.
    ///
    /// # Errors
    /// If a part can't be read.
    pub fn load(
        model: &Path,
        examples: &[Example],
        settings: &Training,
        compute: Compute,
    ) -> Result<Self, TrainError> {
        let (llama, diffusion) = (model.join("llama"), model.join("diffusion"));
        let config = Config::read(&llama)?;
        let pipeline = StableDiffusion3Config::read(&diffusion)?;
        let parts = Parts::new(model, settings.begin, settings.seed);
        let weights = parts.trained(LLAMA, compute, &[VISION])?;
        let features = config.vision.features();
        let llama_vision = LlamaVision::from_weights(&weights, config)?;
        weights.finish(BUFFERS)?;

        let contrast = Weights::fresh(settings.seed, compute);
        let side = |part: Part, config, name: &str, ids| {
            let weights = parts.trained(place(part), compute, &[""])?;
            let encoder = ClipTextEncoder::load(&weights, config)?;
            weights.finish(&["position_ids"])?;
            let own = contrast.at(name);
            let scale = settings.encoders.similarity_scale.ln();
            Ok::<_, TrainError>(Side {
                encoder,
                projection: Linear::load(&own, features, config.projection_dim, Bias::No)?,
                log_scale: own.parameter(
                    "log_scale",
                    &[],
                    crate::torch::Initial::Constant(scale),
                )?,
                ids,
            })
        };
        let sides = [
            side(Part::ClipL, &pipeline.clip_l, "clip_l", |ids| &ids.clip_l)?,
            side(Part::ClipG, &pipeline.clip_g, "clip_g", |ids| &ids.clip_g)?,
        ];
        let mut parameters = parts.parameters();
        let own = contrast.parameters().into_iter();
        parameters.extend(own.map(|(name, tensor)| (format!("contrast.{name}"), tensor)));

        let tokenizers = CaptionTokenizers::load(&diffusion).map_err(super::unusable)?;
        let mut photos = photos(examples);
        photos.retain(|photo| photo.caption.is_some());
        let captions = photos
            .iter()
            .map(|photo| tokenizers.encode(photo.caption.as_deref().unwrap_or_default()))
            .collect::<Result<_, _>>()
            .map_err(super::unusable)?;
        let notes = photos.iter().map(|photo| super::caption_note(photo, &tokenizers)).collect();
        Ok(Self {
            notes,
            processor: ImageProcessor::load(&llama).map_err(super::unusable)?,
            parts,
            parameters,
            llama: llama_vision,
            sides,
            compute,
            photos,
            captions,
            micro_batch: settings.micro_batch_examples,
            precision: settings.written,
        })
    }

    fn tiles(&self, pixels: &Arc<Pixels>) -> PhotoTiles {
        let image = self.processor.process(pixels, Detail::Full);
        PhotoTiles {
            pixels: image.pixel_values,
            tiles: image.tiles,
            aspect_ratio_id: image.aspect_ratio_id,
        }
    }

    /// Features of the photos, averaged over the tiles that show something: `[b, f]`.
    fn photo_features(&self, photos: &[PhotoTiles]) -> Tensor {
        let features_bkpf = self.llama.features(photos, None);
        let rows: Vec<Tensor> = photos
            .iter()
            .zip(features_bkpf.split(1, 0))
            .map(|(photo, features_1kpf)| {
                let shown = features_1kpf.narrow(1, 0, photo.tiles as i64);
                shown.mean_dim([1i64, 2].as_slice(), false, None)
            })
            .collect();
        Tensor::cat(&rows, 0)
    }
}

impl Side {
    /// The contrast's loss summed over the photos, and how many captions found their photo.
    fn loss(&self, features_bf: &Tensor, captions: &[CaptionIds]) -> (Tensor, f64) {
        let ids: Vec<&[i64]> = captions.iter().map(self.ids).collect();
        let ends: Vec<i64> = ids.iter().map(|ids| self.encoder.end_of_text(ids)).collect();
        let (b, device) = (ids.len() as i64, features_bf.device());
        let ids_bt = Tensor::from_slice(&ids.concat()).view([b, -1]).to_device(device);
        let embedded_btd = self.encoder.tokens().forward(&ids_bt);
        let unit = |x: &Tensor| {
            let x = x.to_kind(Kind::Float);
            let norm = x.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true).clamp_min(1e-6);
            x / norm
        };
        let text_be = unit(&self.encoder.forward(&embedded_btd, &ends).pooled_bp);
        let photo_be = unit(&self.projection.forward(features_bf, None));
        // The parameter itself is clamped, as CLIP's is: it must be able to come back.
        let _ = no_grad(|| self.log_scale.shallow_clone().clamp_max_(SCALE_MAX.ln()));
        let scale = self.log_scale.exp();
        let similarity_bb = text_be.matmul(&photo_be.tr()) * scale;

        let same_bb = ids_bt.unsqueeze(1).eq_tensor(&ids_bt.unsqueeze(0)).all_dim(-1, false);
        let target_bb = same_bb.to_kind(Kind::Float);
        let target_bb = &target_bb / target_bb.sum_dim_intlist(1i64, true, Kind::Float);
        let entropy =
            |logits: &Tensor| -(logits.log_softmax(1, Kind::Float) * &target_bb).sum(Kind::Float);
        let loss = (entropy(&similarity_bb) + entropy(&similarity_bb.tr())) * 0.5;
        let nearest_b = similarity_bb.argmax(1, true);
        let found = same_bb.gather(1, &nearest_b, false).sum(Kind::Float).double_value(&[]);
        (loss, found)
    }
}

impl Objective for EncodersObjective {
    type MicroBatch = Pairs;

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
        _: &StepContext,
    ) -> Result<Batch<Pairs>, ObjectiveError> {
        let mut batch = Batch::default();
        for chunk in places.chunks(self.micro_batch) {
            let mut pairs = Pairs { photos: Vec::new(), captions: Vec::new() };
            for &place in chunk {
                match self.photos[place].load() {
                    Ok(pixels) => {
                        pairs.photos.push(self.tiles(&pixels));
                        pairs.captions.push(self.captions[place].clone());
                        batch.left_out.extend(self.notes[place].clone());
                    }
                    Err(sentence) => batch.left_out.push(sentence),
                }
            }
            if !pairs.photos.is_empty() {
                let counts = Counts { tokens: 0, photos: pairs.photos.len() as u64 };
                batch.push(pairs, counts);
            }
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        micro_batch: &Pairs,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let features_bf = self.photo_features(&micro_batch.photos);
        step.recorder.keep("photo_features", || features_bf.shallow_clone());
        let weight = micro_batch.photos.len() as f64;
        let mut measures = Measures::default();
        let mut total = Tensor::zeros([], (Kind::Float, self.compute.device));
        for (side, names) in self
            .sides
            .iter()
            .zip([("clip_l_loss", "clip_l_found"), ("clip_g_loss", "clip_g_found")])
        {
            let (loss, found) = side.loss(&features_bf, &micro_batch.captions);
            measures.add(names.0, loss.double_value(&[]), weight);
            measures.add(names.1, found, weight);
            total += loss;
        }
        Ok(MicroLoss { loss: total / counts.photos as f64, measures, probes: Vec::new() })
    }

    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        self.parts.write(parameters, out, self.precision, |_| Ok(()))
    }
}
