//! Prompts of different lengths side by side, and the session that writes on from them.
//!
//! Axes in names: b sequence, t position, s attended position, d width, v vocabulary.

use tch::{Kind, Tensor};

use super::cache::Cache;
use super::decoder::{Pass, PhotoPass, PhotoSource};
use super::model::{LlamaVision, Prompt};
use super::reading::{Reading, seeing};
use crate::nn::{Adapter, Mask, Rotary};

/// Prompts padded on the left to one length, and all that their positions need to know.
pub(super) struct Batch {
    /// int64.
    pub(super) ids_bt: Tensor,
    length: i64,
    /// For the prompts' positions and those to come, `[t, e]` or `[b, 1, t, e]`.
    rotary: Rotary,
    /// Additive masks; `None` where no prompt is padded.
    padding: Option<PaddingMasks>,
    /// `None` where there is no photo at all.
    photos: Option<BatchPhotos>,
}

struct PaddingMasks {
    /// `[b, 1, t, t]`: causal, and blind to padding.
    prefill: Tensor,
    /// `[b, 1, 1, s]` for as many positions as there will ever be: blind to padding.
    step: Tensor,
}

struct BatchPhotos {
    /// `[1, s, d]`.
    states_1sd: Tensor,
    readings: Vec<Reading>,
    seeing_bt1: Option<Tensor>,
    /// The last position of `seeing_bt1`; `None` where every sequence has a photo.
    seeing_b11: Option<Tensor>,
}

impl Batch {
    /// Lays out `prompts`, with room for `new_tokens_max` positions after them.
    pub(super) fn new(model: &LlamaVision, prompts: &[Prompt<'_>], new_tokens_max: usize) -> Self {
        let length = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let compute = model.compute();
        let mut ids = Vec::with_capacity(prompts.len() * length);
        let mut padding = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            assert!(!prompt.ids.is_empty(), "a prompt has at least one token");
            let missing = length - prompt.ids.len();
            padding.push(missing as i64);
            ids.extend(std::iter::repeat_n(0, missing));
            ids.extend(prompt.ids.iter().map(|&id| i64::from(id)));
        }
        let ids_bt = Tensor::from_slice(&ids).view([prompts.len() as i64, -1]);
        let room = Tensor::arange((length + new_tokens_max) as i64, tch::kind::INT64_CPU);
        let padded = padding.iter().any(|&count| count > 0);
        let padding_b1 = Tensor::from_slice(&padding).view([-1, 1]);
        let positions = if padded {
            (&room - &padding_b1).clamp_min(0).unsqueeze(1)
        } else {
            room.shallow_clone()
        };
        Self {
            ids_bt: ids_bt.to_device(compute.device),
            length: length as i64,
            rotary: Rotary::new(
                &positions.to_device(compute.device),
                model.frequencies(),
                compute.kind,
            ),
            padding: padded.then(|| PaddingMasks::new(model, &padding_b1, &room, length as i64)),
            photos: BatchPhotos::new(model, prompts, length),
        }
    }

    /// The pass over all prompts.
    pub(super) fn prefill<'a>(&'a self, adapter: Option<&'a Adapter>) -> Pass<'a> {
        Pass {
            rotary: self.rotary.narrow(0, self.length),
            mask: self
                .padding
                .as_ref()
                .map_or(Mask::Causal, |masks| Mask::Additive(&masks.prefill)),
            photos: self.photos.as_ref().map(|photos| PhotoPass {
                source: PhotoSource::States(&photos.states_1sd, &photos.readings),
                seeing_bt1: photos.seeing_bt1.as_ref(),
            }),
            adapter,
        }
    }
}

impl PaddingMasks {
    fn new(model: &LlamaVision, padding_b1: &Tensor, room: &Tensor, length: i64) -> Self {
        let compute = model.compute();
        let shown_bs = room.unsqueeze(0).greater_equal_tensor(padding_b1);
        let additive = |shown: &Tensor| {
            Tensor::zeros(shown.size(), (compute.kind, compute.device))
                .masked_fill(&shown.logical_not().to_device(compute.device), f64::NEG_INFINITY)
        };
        let positions_t = room.narrow(0, 0, length);
        let causal_tt = positions_t.unsqueeze(1).greater_equal_tensor(&positions_t.unsqueeze(0));
        // A padding position attends to itself: a softmax over nothing would not be finite.
        let itself_tt = positions_t.unsqueeze(1).eq_tensor(&positions_t.unsqueeze(0));
        let shown_b1t = shown_bs.narrow(1, 0, length).unsqueeze(1);
        let prefill_btt = causal_tt.logical_and(&shown_b1t).logical_or(&itself_tt);
        Self {
            prefill: additive(&prefill_btt).unsqueeze(1),
            step: additive(&shown_bs).unsqueeze(1).unsqueeze(1),
        }
    }
}

impl BatchPhotos {
    fn new(model: &LlamaVision, prompts: &[Prompt<'_>], length: usize) -> Option<Self> {
        let image_token = model.config().image_token;
        let mut states = Vec::new();
        let mut readings = Vec::with_capacity(prompts.len());
        let mut first_key = 0;
        for prompt in prompts {
            let is_photo = |(at, &id): (usize, &u32)| (id == image_token).then_some(at);
            let positions: Vec<usize> =
                prompt.ids.iter().enumerate().filter_map(is_photo).collect();
            assert_eq!(positions.len(), prompt.photos.len(), "one photo for every <|image|>");
            let padding = length - prompt.ids.len();
            let (tokens, photos) = (prompt.ids.len(), prompt.photos);
            readings.push(Reading::new(tokens, padding, &positions, photos, first_key));
            first_key += photos.iter().map(|photo| photo.states_sd.size()[0]).sum::<i64>();
            states.extend(photos.iter().map(|photo| &photo.states_sd));
        }
        let states_1sd = match states.as_slice() {
            [] => return None,
            [only] => only.unsqueeze(0),
            several => Tensor::cat(several, 0).unsqueeze(0),
        };
        let seeing_bt1 = seeing(&readings, length as i64, &states_1sd);
        let seeing_b11 = seeing_bt1
            .as_ref()
            .filter(|_| prompts.iter().any(|prompt| prompt.photos.is_empty()))
            .map(|seeing_bt1| seeing_bt1.narrow(1, length as i64 - 1, 1));
        Some(Self { states_1sd, readings, seeing_bt1, seeing_b11 })
    }
}

/// Sequences being written: what was read and written so far lies in the cache.
pub(super) struct Session<'a> {
    model: &'a LlamaVision,
    adapter: Option<&'a Adapter>,
    batch: Batch,
    cache: Cache,
    length: i64,
}

impl<'a> Session<'a> {
    /// Reads the prompts; with the logits `[b, v]` in float32 that follow their last tokens.
    pub(super) fn begin(
        model: &'a LlamaVision,
        prompts: &[Prompt<'_>],
        new_tokens_max: usize,
        adapter: Option<&'a Adapter>,
    ) -> (Self, Tensor) {
        let batch = Batch::new(model, prompts, new_tokens_max);
        let mut cache = model.decoder().empty_cache();
        let hidden_btd =
            model.decoder().forward(&batch.ids_bt, &batch.prefill(adapter), Some(&mut cache));
        let length = batch.length;
        let last_bd = hidden_btd.select(1, length - 1);
        let logits_bv = model.decoder().logits(&last_bd, adapter).to_kind(Kind::Float);
        (Self { model, adapter, batch, cache, length }, logits_bv)
    }

    /// Adds one token to each sequence; the logits `[b, v]` in float32 that follow.
    pub(super) fn step(&mut self, tokens: &[u32]) -> Tensor {
        let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
        let ids_b1 = Tensor::from_slice(&ids).unsqueeze(1).to_device(self.model.compute().device);
        let mask_b11s =
            self.batch.padding.as_ref().map(|masks| masks.step.narrow(3, 0, self.length + 1));
        let pass = Pass {
            rotary: self.batch.rotary.narrow(self.length, 1),
            mask: mask_b11s.as_ref().map_or(Mask::None, Mask::Additive),
            photos: self.batch.photos.as_ref().map(|photos| PhotoPass {
                source: PhotoSource::Kept,
                seeing_bt1: photos.seeing_b11.as_ref(),
            }),
            adapter: self.adapter,
        };
        let hidden_b1d = self.model.decoder().forward(&ids_b1, &pass, Some(&mut self.cache));
        self.length += 1;
        self.model.decoder().logits(&hidden_b1d.squeeze_dim(1), self.adapter).to_kind(Kind::Float)
    }

    /// Goes on with the sequences `rows`, in that order; of a single unpadded prompt only.
    pub(super) fn select(&mut self, rows: &[usize]) {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        self.cache.select(&Tensor::from_slice(&rows).to_device(self.model.compute().device));
    }
}
