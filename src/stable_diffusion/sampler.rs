//! The guided Euler sampler.
//!
//! Axes: b batch, c channel, h and w height and width.

use std::ops::ControlFlow;

use tch::{Kind, Tensor};

use super::conditioning::TextConditioning;
use super::mmdit::Mmdit;
use super::schedule::FlowMatchSchedule;
use crate::nn::Adapter;

/// Most rows (steps × batch) whose modulations are held at once; SD 3.5 large needs 142 MB in bf16
/// for so many.
pub(super) const MODULATION_ROWS_MAX: usize = 64;

/// What pictures are drawn from.
pub struct Guided<'a> {
    /// What they should show: b captions.
    pub caption: &'a TextConditioning,
    /// What they should lead away from: b captions or one; the empty text as a rule.
    pub negative: &'a TextConditioning,
    /// How far beyond the caption's own velocity; 1 or less leaves the negative captions out.
    pub guidance: f64,
}

/// One finished step.
pub struct Step<'a> {
    /// Steps done, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The latents now, `[b, c, h, w]`, float32.
    pub latents_bchw: &'a Tensor,
    before: &'a Tensor,
    velocity: &'a Tensor,
    sigma: f64,
}

impl Step<'_> {
    /// What the latents without noise looked like from here, `[b, c, h, w]`, float32: for
    /// previews.
    pub fn clean_estimate(&self) -> Tensor {
        self.before - self.velocity * self.sigma
    }
}

/// Told of every step; answers whether to go on.
pub type StepWatcher<'a> = dyn FnMut(&Step<'_>) -> ControlFlow<()> + 'a;

/// The watcher said stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("drawing was cancelled")]
pub struct Cancelled;

/// Follows the velocity from `latents_bchw`, standard normal, to clean latents of the same shape,
/// in float32. The steps' arithmetic is in float32 whatever the network's format.
pub fn sample(
    mmdit: &Mmdit,
    schedule: &FlowMatchSchedule,
    latents_bchw: &Tensor,
    guided: &Guided<'_>,
    adapter: Option<&Adapter>,
    watcher: &mut StepWatcher<'_>,
) -> Result<Tensor, Cancelled> {
    let _no_grad = tch::no_grad_guard();
    let b = latents_bchw.size()[0];
    let both = guided.guidance > 1.0;
    let captions = guided.caption.repeated(b);
    let captions = if both { guided.negative.repeated(b).followed_by(&captions) } else { captions };
    let context = mmdit.embed_context(captions.context(), adapter);
    let rows = captions.batch();
    let kind = captions.pooled().kind();

    let steps = schedule.steps();
    let together = (MODULATION_ROWS_MAX / rows as usize).max(1);
    let mut latents_bchw = latents_bchw.to_kind(Kind::Float);
    for first in (0..steps).step_by(together) {
        let timesteps = &schedule.timesteps()[first..steps.min(first + together)];
        let timesteps_r = Tensor::from_slice(timesteps)
            .to_device(latents_bchw.device())
            .repeat_interleave_self_int(rows, 0, None);
        let pooled_rp = captions.pooled().repeat([timesteps.len() as i64, 1]);
        let modulations = mmdit.modulations(&timesteps_r, &pooled_rp, adapter);
        for step in first..first + timesteps.len() {
            let modulation = modulations.rows((step - first) as i64 * rows, rows);
            let input = latents_bchw.to_kind(kind).repeat([rows / b, 1, 1, 1]);
            let velocity = mmdit
                .forward_modulated(&input, &context, &modulation, adapter)
                .to_kind(Kind::Float);
            let velocity = if both {
                let (away, towards) = (velocity.narrow(0, 0, b), velocity.narrow(0, b, b));
                &away + (towards - &away) * guided.guidance
            } else {
                velocity
            };
            let sigma = schedule.sigma(step);
            let next = &latents_bchw + &velocity * (schedule.sigma(step + 1) - sigma);
            let done = Step {
                step: step + 1,
                steps,
                latents_bchw: &next,
                before: &latents_bchw,
                velocity: &velocity,
                sigma,
            };
            if watcher(&done).is_break() {
                return Err(Cancelled);
            }
            latents_bchw = next;
        }
    }
    Ok(latents_bchw)
}
