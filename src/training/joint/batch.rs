//! What one micro-step of the joint objective works on, and everything that is drawn at random for
//! it: as data, so that another implementation can be given the same.
//!
//! Axes in names: m position of a caption, v vocabulary, c channel, h and w height and width.

use std::ops::Range;

use tch::{Kind, Tensor};

use crate::bridge::gumbel_noise;
use crate::config::{DiffusionLoss, GumbelNoise, Switch};
use crate::training::pictures::picture;
use crate::training::reading::ReadDialogue;
use crate::training::rectified_flow::noise_level;
use crate::training::{Counts, Draws, Purpose, StepContext};

/// Most photos of a dialogue that have draws of their own: the place of a photo in a step is its
/// example's, times this, and its own among the example's.
const PHOTOS_MAX: u64 = 1 << 16;

/// Dialogues that go through the models together, with the photos that A shares in them.
pub struct JointMicroBatch {
    pub(super) dialogues: Vec<ReadDialogue>,
    pub(super) shares: Vec<Share>,
    /// Counts micro-batches within the step.
    pub(super) place: u64,
}

/// A photo that A shares, which the image generator learns to draw.
pub(super) struct Share {
    /// The dialogue, counted within the micro-batch.
    pub(super) dialogue: usize,
    /// The caption's tokens in the dialogue.
    pub(super) tokens: Range<usize>,
    /// The reference caption.
    pub(super) caption: String,
    /// `[3, h, w]` in 0…1, float32 on the CPU.
    pub(super) picture_chw: Tensor,
    /// Counts photos within the step, with gaps.
    pub(super) place: u64,
}

/// What the image generator is told of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The reference caption.
    Gold,
    /// The caption that the language model draws.
    Own,
    /// The empty caption: what classifier-free guidance leads away from.
    Empty,
}

/// Everything random about one photo.
#[derive(Debug)]
pub struct PhotoDraws {
    /// What the image generator is told.
    pub driver: Driver,
    /// Standard Gumbel noise `[m, v]` of the caption's tokens, float32.
    pub gumbel_mv: Tensor,
    /// The noise level σ, 0…1.
    pub sigma: f64,
    /// ε, `[c, h, w]`, float32.
    pub noise_chw: Tensor,
    /// The draw from the autoencoder's distribution of latents, `[c, h, w]`, float32.
    pub latents_chw: Tensor,
}

/// Everything random about one micro-batch.
#[derive(Debug)]
pub struct MicroDraws {
    /// Of every photo, in order.
    pub photos: Vec<PhotoDraws>,
    /// Seed of the dropout on the language model's low-rank updates.
    pub language_dropout: u64,
    /// Seed of the dropout on the diffusion transformer's.
    pub diffusion_dropout: u64,
}

impl JointMicroBatch {
    /// Of dialogues, each with the place of its example in the step, and photos of `side` pixels.
    pub(super) fn new(
        dialogues: Vec<(u64, ReadDialogue)>,
        side: i64,
        place: u64,
        mirrored: Switch,
        draws: &Draws,
    ) -> Self {
        let mut shares = Vec::new();
        for (index, (example, dialogue)) in dialogues.iter().enumerate() {
            for (number, shared) in (0..PHOTOS_MAX).zip(&dialogue.shared) {
                let place = example * PHOTOS_MAX + number;
                let mirror = mirrored == Switch::On && draws.uniform(Purpose::Flip, place) < 0.5;
                let picture_chw = picture(&shared.pixels, [side, side]);
                shares.push(Share {
                    dialogue: index,
                    tokens: shared.tokens.clone(),
                    caption: shared.caption.clone(),
                    picture_chw: if mirror { picture_chw.flip([2]) } else { picture_chw },
                    place,
                });
            }
        }
        let dialogues = dialogues.into_iter().map(|(_, dialogue)| dialogue).collect();
        Self { dialogues, shares, place }
    }

    /// The reference captions of its photos, in order.
    pub fn captions(&self) -> impl Iterator<Item = &str> {
        self.shares.iter().map(|share| share.caption.as_str())
    }

    /// What its losses are means over.
    pub fn counts(&self) -> Counts {
        let tokens = self.dialogues.iter().map(|dialogue| dialogue.scored.len() as u64).sum();
        Counts { tokens, photos: self.shares.len() as u64 }
    }
}

/// What draws depend on beside the step.
pub(super) struct DrawSettings<'a> {
    pub(super) pictures: &'a DiffusionLoss,
    pub(super) noise: GumbelNoise,
    /// The scheduler's shift of noise levels.
    pub(super) shift: f64,
    pub(super) vocabulary: i64,
    /// `[c, h, w]`.
    pub(super) latents: [i64; 3],
}

impl MicroDraws {
    /// The step's own draws for `micro_batch`.
    pub(super) fn of_step(
        micro_batch: &JointMicroBatch,
        step: &StepContext,
        settings: &DrawSettings<'_>,
    ) -> Self {
        let draws = &step.draws;
        let photo = |share: &Share| {
            let place = share.place;
            let dropped =
                draws.uniform(Purpose::CaptionDropout, place) < settings.pictures.caption_dropout;
            let own = draws.uniform(Purpose::CaptionSource, place) < step.own_caption_share;
            let size = [share.tokens.len() as i64, settings.vocabulary];
            let gumbel_mv = match settings.noise {
                GumbelNoise::Gumbel => {
                    gumbel_noise(&mut draws.generator(Purpose::Gumbel, place), &size)
                }
                GumbelNoise::None => Tensor::zeros(size, (Kind::Float, tch::Device::Cpu)),
            };
            let normal = |purpose| draws.generator(purpose, place).randn(&settings.latents);
            PhotoDraws {
                driver: match (dropped, own) {
                    (true, _) => Driver::Empty,
                    (false, true) => Driver::Own,
                    (false, false) => Driver::Gold,
                },
                gumbel_mv,
                sigma: noise_level(settings.pictures, settings.shift, draws, place),
                noise_chw: normal(Purpose::Noise),
                latents_chw: normal(Purpose::Latents),
            }
        };
        let dropout = |model: u64| draws.seed(Purpose::Dropout, 2 * micro_batch.place + model);
        Self {
            photos: micro_batch.shares.iter().map(photo).collect(),
            language_dropout: dropout(0),
            diffusion_dropout: dropout(1),
        }
    }
}
