//! L = L_t + α L_v (eq. 6), from dialogues through the language model, the bridge and the image
//! generator's text encoders to the velocity of its transformer.
//!
//! Axes in names: n scored token, m position of a caption, v vocabulary, b photo, t position in an
//! encoder, d width, c channel, h and w height and width.

use tch::{Kind, Tensor};

use super::JointObjective;
use super::batch::{Driver, JointMicroBatch, MicroDraws, PhotoDraws, Share};
use crate::bridge::{DrivingCaption, Temperature, gumbel_softmax};
use crate::config::Trained;
use crate::llama_vision::{Prompt, SeenPhoto};
use crate::nn::{Adapter, Dropout};
use crate::stable_diffusion::{EmbeddedCaptions, TextConditioning};
use crate::training::reading::{ReadDialogue, ScoredTokens};
use crate::training::rectified_flow::{error_by_photo, noised};
use crate::training::{Counts, Measures, MicroLoss, ObjectiveError, Recorder};

/// Name of the measure of ∂L_v/∂logits, its Euclidean norm over a caption's positions.
const GRADIENT: &str = "bridge_gradient";

/// One photo's caption on its way into the encoders: embeddings `[t, d]`.
struct Told {
    caption: DrivingCaption,
    clip_l: Tensor,
    clip_g: Tensor,
    /// A leaf of zeros that takes the gradient of the caption's logits, `[m, v]`.
    probe: Option<Tensor>,
}

impl JointObjective {
    /// The loss of a micro-batch under given draws, τ with its floor, and the whole batch's counts.
    ///
    /// # Errors
    /// If a tokenizer fails.
    pub fn loss(
        &self,
        micro_batch: &JointMicroBatch,
        draws: &MicroDraws,
        temperature: Temperature,
        counts: Counts,
        recorder: &Recorder,
    ) -> Result<MicroLoss, ObjectiveError> {
        let JointMicroBatch { dialogues, shares, .. } = micro_batch;
        let scored = ScoredTokens::new(dialogues);
        let language =
            self.dropped(self.language.as_ref(), self.settings.language, draws.language_dropout);
        let logits_nv = self.scored_logits(dialogues, language.as_ref());
        let mut measures = Measures::default();
        let text_sum = scored.surprise(&logits_nv, &mut measures);
        let mut loss = text_sum / counts.tokens.max(1) as f64;
        let mut probes = Vec::new();
        if !shares.is_empty() {
            let weight = self.settings.bridge.picture_weight / counts.photos as f64;
            let told = shares
                .iter()
                .zip(&draws.photos)
                .map(|(share, drawn)| {
                    let first = scored.row(share.dialogue, share.tokens.start);
                    let logits_mv = logits_nv.narrow(0, first, share.tokens.len() as i64);
                    self.tell(share, drawn, &logits_mv, temperature, weight)
                })
                .collect::<Result<Vec<Told>, _>>()?;
            let (adapter, trained) = (self.transformer.as_ref(), self.settings.diffusion);
            let diffusion = self.dropped(adapter, trained, draws.diffusion_dropout);
            let error_b = self.error(micro_batch, draws, &told, diffusion.as_ref());
            let sum = error_b.sum(Kind::Float);
            measures.add("picture_loss", sum.double_value(&[]), shares.len() as f64);
            loss += sum * weight;
            record_told(recorder, &told);
            probes = told.into_iter().filter_map(|told| Some((GRADIENT, told.probe?))).collect();
        }
        self.record(recorder, micro_batch, draws);
        Ok(MicroLoss { loss, measures, probes })
    }

    /// Logits `[n, v]` that predict the scored tokens of all dialogues, in order.
    fn scored_logits(&self, dialogues: &[ReadDialogue], adapter: Option<&Adapter>) -> Tensor {
        let tiles: Vec<_> = dialogues.iter().flat_map(ReadDialogue::photos).collect();
        let mut seen = self.llama.perceive(&tiles, adapter).into_iter();
        let photos: Vec<Vec<SeenPhoto>> = dialogues
            .iter()
            .map(|dialogue| seen.by_ref().take(dialogue.prompt.images.len()).collect())
            .collect();
        let prompts: Vec<Prompt<'_>> = dialogues
            .iter()
            .zip(&photos)
            .map(|(dialogue, photos)| Prompt { ids: &dialogue.prompt.ids, photos })
            .collect();
        let places: Vec<Vec<usize>> = dialogues.iter().map(ReadDialogue::predicting).collect();
        self.llama.logits_at(&prompts, &places, adapter)
    }

    /// Takes one photo's caption over the bridge. `logits_mv` predict its tokens; `weight` is what
    /// the photo's error counts for in the loss.
    fn tell(
        &self,
        share: &Share,
        drawn: &PhotoDraws,
        logits_mv: &Tensor,
        temperature: Temperature,
        weight: f64,
    ) -> Result<Told, ObjectiveError> {
        let noise_mv = drawn.gumbel_mv.to_device(self.compute.device);
        let draw =
            |logits_mv: &Tensor| gumbel_softmax(logits_mv, &noise_mv, &self.barred_v, temperature);
        let caption = match drawn.driver {
            Driver::Empty => self.empty_caption.clone(),
            Driver::Gold => {
                DrivingCaption::gold(&share.caption, self.prompts.tokenizer(), &self.encoders)?
            }
            Driver::Own => {
                let tokens: Vec<i64> = draw(&logits_mv.detach()).tokens_m.try_into()?;
                let tokens: Vec<u32> = tokens.into_iter().map(|id| id as u32).collect();
                DrivingCaption::own(&tokens, self.prompts.tokenizer(), &self.encoders)?
            }
        };
        match &self.bridge {
            Some(bridge) if drawn.driver != Driver::Empty => {
                let logits_mv = logits_mv.to_kind(Kind::Float);
                let probe = logits_mv.detach().zeros_like().set_requires_grad(true);
                // Scaled, so that it takes the gradient of the photo's own error.
                let scale = if weight > 0.0 { 1.0 / weight } else { 1.0 };
                let embedded =
                    bridge.embed(&draw(&(logits_mv + &probe * scale)).choices_mv, &caption);
                let (clip_l, clip_g) = (embedded.clip_l, embedded.clip_g);
                Ok(Told { caption, clip_l, clip_g, probe: Some(probe) })
            }
            _ => {
                let ids = |ids: &[i64]| Tensor::from_slice(ids).to_device(self.compute.device);
                let clip_l = self.diffusion.clip_l().tokens().forward(&ids(&caption.clip_l.ids));
                let clip_g = self.diffusion.clip_g().tokens().forward(&ids(&caption.clip_g.ids));
                Ok(Told { caption, clip_l, clip_g, probe: None })
            }
        }
    }

    /// The mean squared error of the velocity for each photo, `[b]`.
    fn error(
        &self,
        micro_batch: &JointMicroBatch,
        draws: &MicroDraws,
        told: &[Told],
        adapter: Option<&Adapter>,
    ) -> Tensor {
        let device = self.compute.device;
        let stack = |tensors: Vec<&Tensor>| Tensor::stack(&tensors, 0).to_device(device);
        let shares = micro_batch.shares.iter();
        let pictures_bchw = stack(shares.map(|share| &share.picture_chw).collect());
        let posterior_bchw = stack(draws.photos.iter().map(|drawn| &drawn.latents_chw).collect());
        let noise_bchw = stack(draws.photos.iter().map(|drawn| &drawn.noise_chw).collect());
        let sigmas: Vec<f32> = draws.photos.iter().map(|drawn| drawn.sigma as f32).collect();
        let clean_bchw = self.diffusion.encode_image(&pictures_bchw, Some(&posterior_bchw));
        let noised =
            noised(&clean_bchw, &noise_bchw, Tensor::from_slice(&sigmas).to_device(device));
        let velocity_bchw = self.diffusion.velocity(
            &noised.latents_bchw,
            &noised.sigmas_b,
            &self.conditioning(told),
            adapter,
        );
        error_by_photo(&velocity_bchw, &noised.target_bchw)
    }

    /// What the transformer is told of all photos. T5 gets hard tokens.
    fn conditioning(&self, told: &[Told]) -> TextConditioning {
        let stack = |pick: fn(&Told) -> &Tensor| {
            Tensor::stack(&told.iter().map(pick).collect::<Vec<_>>(), 0)
        };
        let (clip_l, clip_g) = (self.diffusion.clip_l(), self.diffusion.clip_g());
        let captions = || told.iter().map(|told| &told.caption);
        let clip_l_ends: Vec<i64> =
            captions().map(|caption| clip_l.end_of_text(&caption.clip_l.ids)).collect();
        let clip_g_ends: Vec<i64> =
            captions().map(|caption| clip_g.end_of_text(&caption.clip_g.ids)).collect();
        let t5: Option<Vec<&[i64]>> = captions().map(|caption| caption.t5.as_deref()).collect();
        let t5_ids_bt = t5.map(|ids| {
            let ids_bt = Tensor::from_slice(&ids.concat()).view([told.len() as i64, -1]);
            ids_bt.to_device(self.compute.device)
        });
        self.diffusion.encode_embedded(&EmbeddedCaptions {
            clip_l_btd: &stack(|told| &told.clip_l),
            clip_l_ends: &clip_l_ends,
            clip_g_btd: &stack(|told| &told.clip_g),
            clip_g_ends: &clip_g_ends,
            t5_ids_bt: t5_ids_bt.as_ref(),
        })
    }

    /// An adapter with this pass's dropout.
    fn dropped(&self, adapter: Option<&Adapter>, trained: Trained, seed: u64) -> Option<Adapter> {
        let probability = self.settings.lora.dropout;
        adapter.map(|adapter| {
            if probability > 0.0 && trained == Trained::Adapters {
                adapter.with_dropout(Dropout { probability, seed })
            } else {
                adapter.clone()
            }
        })
    }

    /// The batch and its draws for a trace.
    fn record(&self, recorder: &Recorder, micro_batch: &JointMicroBatch, draws: &MicroDraws) {
        for dialogue in &micro_batch.dialogues {
            dialogue.record(recorder, &self.llama.config().vision);
        }
        let seeds = [draws.language_dropout, draws.diffusion_dropout].map(|seed| seed as i64);
        recorder.keep("dropout_seeds", || Tensor::from_slice(&seeds));
        for (share, drawn) in micro_batch.shares.iter().zip(&draws.photos) {
            recorder.keep("caption_tokens", || {
                let Share { dialogue, tokens, .. } = share;
                let place = [*dialogue, tokens.start, tokens.end].map(|at| at as i64);
                Tensor::from_slice(&place)
            });
            recorder.keep("picture", || share.picture_chw.shallow_clone());
            recorder.keep("driver", || {
                Tensor::from(match drawn.driver {
                    Driver::Gold => 0i64,
                    Driver::Own => 1,
                    Driver::Empty => 2,
                })
            });
            recorder.keep("gumbel_noise", || drawn.gumbel_mv.shallow_clone());
            recorder.keep("sigma", || Tensor::from(drawn.sigma as f32));
            recorder.keep("noise", || drawn.noise_chw.shallow_clone());
            recorder.keep("latent_noise", || drawn.latents_chw.shallow_clone());
        }
    }
}

/// What the encoders were told, for a trace.
fn record_told(recorder: &Recorder, told: &[Told]) {
    for Told { caption, .. } in told {
        recorder.keep("clip_l_ids", || Tensor::from_slice(&caption.clip_l.ids));
        recorder.keep("clip_g_ids", || Tensor::from_slice(&caption.clip_g.ids));
    }
}
