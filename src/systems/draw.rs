//! The drawing half: captions into pictures.

use std::ops::ControlFlow;

use tch::{Device, Kind, Tensor};

use super::trace::Trace;
use super::{Drawing, RespondError};
use crate::dialogue::Pixels;
use crate::nn::Adapter;
use crate::prompt::{CaptionTokenizers, PromptError};
use crate::stable_diffusion::{Guided, StableDiffusion3, Step, TextConditioning};
use crate::torch::Generator;

/// Stable Diffusion 3 with its tokenizers.
pub(super) struct Drawer {
    model: StableDiffusion3,
    tokenizers: CaptionTokenizers,
    /// What guidance leads away from: the empty caption.
    negative: TextConditioning,
}

/// One picture to draw.
pub(super) struct Order<'a> {
    pub(super) caption: &'a str,
    pub(super) drawing: &'a Drawing,
    /// Which photo of the reply, from 0: picks its latents and its place in the seed's sequence.
    pub(super) index: usize,
    pub(super) seed: u64,
}

impl Drawer {
    pub(super) fn new(
        model: StableDiffusion3,
        tokenizers: CaptionTokenizers,
    ) -> Result<Self, PromptError> {
        let _no_grad = tch::no_grad_guard();
        let negative = model.encode(&[tokenizers.encode("")?]);
        Ok(Self { model, tokenizers, negative })
    }

    /// Draws, telling `step` of every diffusion step done.
    pub(super) fn draw(
        &self,
        order: &Order<'_>,
        adapter: Option<&Adapter>,
        step: &mut dyn FnMut(usize) -> ControlFlow<()>,
        trace: &mut Trace<'_>,
    ) -> Result<Pixels, RespondError> {
        let _no_grad = tch::no_grad_guard();
        let Order { caption, drawing, index, .. } = *order;
        let latents_1chw = self.latents(order)?;
        let ids = self
            .tokenizers
            .encode(caption)
            .map_err(|error| RespondError::Failed(Box::new(error)))?;
        let conditioning = self.model.encode(std::slice::from_ref(&ids));
        let name = |part: &str| format!("photo{index}.{part}");
        trace.keep(name("clip_ids"), || Tensor::from_slice(&ids.clip_l));
        trace.keep(name("prompt_embeds"), || conditioning.prompt_embeds().squeeze_dim(0));
        trace.keep(name("pooled_prompt_embeds"), || conditioning.pooled().squeeze_dim(0));
        trace.keep(name("latents_first"), || latents_1chw.squeeze_dim(0));

        let guided =
            Guided { caption: &conditioning, negative: &self.negative, guidance: drawing.guidance };
        let mut watcher = |done: &Step<'_>| step(done.step);
        let latents_1chw = self
            .model
            .draw(&guided, &latents_1chw, drawing.steps, adapter, &mut watcher)
            .map_err(|_| RespondError::Cancelled)?;
        trace.keep(name("latents_last"), || latents_1chw.squeeze_dim(0));
        let picture_chw = self.model.decode(&latents_1chw).squeeze_dim(0);
        trace.keep(name("image"), || picture_chw.shallow_clone());
        Ok(pixels(&picture_chw))
    }

    /// Standard normal `[1, c, h, w]`, float32 on the CPU: those given, or the seed's.
    fn latents(&self, order: &Order<'_>) -> Result<Tensor, RespondError> {
        let Order { drawing, index, seed, .. } = *order;
        let [c, h, w] = self
            .model
            .latents_shape(drawing.size)
            .map_err(|error| RespondError::Unanswerable(error.to_string()))?;
        let Some(given) = &drawing.latents else {
            return Ok(Generator::new(seed.wrapping_add(index as u64)).randn(&[1, c, h, w]));
        };
        let [photos, given_c, given_h, given_w] = given.shape;
        if [given_c, given_h, given_w] != [c, h, w] || index as i64 >= photos {
            return Err(RespondError::Unanswerable(format!(
                "photo {} needs starting latents [{c}, {h}, {w}], but {photos} of \
                 [{given_c}, {given_h}, {given_w}] were given",
                index + 1
            )));
        }
        Ok(Tensor::from_slice(&given.values).view(given.shape).narrow(0, index as i64, 1))
    }
}

/// `[3, h, w]` in 0…1 to 8-bit RGB, rounded to the nearest as diffusers does.
fn pixels(picture_chw: &Tensor) -> Pixels {
    let size = picture_chw.size();
    let bytes_hwc = (picture_chw * 255.0)
        .round()
        .permute([1, 2, 0])
        .to_kind(Kind::Uint8)
        .to_device(Device::Cpu)
        .contiguous();
    let mut rgb = vec![0; bytes_hwc.numel()];
    bytes_hwc.copy_data(&mut rgb, bytes_hwc.numel());
    Pixels { width: size[2] as u32, height: size[1] as u32, rgb }
}
