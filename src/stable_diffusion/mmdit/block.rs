//! One joint block: image and text streams, modulated, attending over both.
//!
//! Axes: b batch, t position, d width, r row of a modulation table, k chunk of a modulation.

use tch::Tensor;

use super::super::config::MmditConfig;
use super::EPSILON;
use super::attention::{ImageAttention, JointAttention, LastPosition};
use crate::nn::{Adapter, Bias, LayerNorm, Linear};
use crate::torch::{Initial, LoadError, Weights, recompute};

/// normed · (1 + scale) + shift.
pub(super) fn modulate(normed_btd: &Tensor, shift_b1d: &Tensor, scale_b1d: &Tensor) -> Tensor {
    shift_b1d.addcmul(normed_btd, &(scale_b1d + 1.0))
}

/// Shifts, scales and gates of one block for several rows, side by side.
pub(super) struct BlockModulation {
    image_rd: Tensor,
    text_rd: Tensor,
}

impl BlockModulation {
    pub(super) fn rows(&self, start: i64, length: i64) -> Self {
        Self {
            image_rd: self.image_rd.narrow(0, start, length),
            text_rd: self.text_rd.narrow(0, start, length),
        }
    }
}

/// `modulation [b, k·d]` as k tensors `[b, 1, d]`.
pub(super) fn chunks<const K: usize>(modulation: &Tensor) -> [Tensor; K] {
    let chunks = modulation.unsqueeze(1).chunk(K as i64, -1);
    chunks.try_into().expect("a modulation has as many chunks as its layer is wide")
}

/// Two layers with a GELU between (its tanh form).
#[derive(Clone)]
struct FeedForward {
    expand: Linear,
    contract: Linear,
}

impl FeedForward {
    fn load(weights: &Weights, d: i64) -> Result<Self, LoadError> {
        Ok(Self {
            expand: Linear::load(&weights.at("net.0.proj"), d, 4 * d, Bias::Yes)?,
            contract: Linear::load(&weights.at("net.2"), 4 * d, d, Bias::Yes)?,
        })
    }

    fn forward(&self, x_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        self.contract.forward(&self.expand.forward(x_btd, adapter).gelu("tanh"), adapter)
    }
}

/// A block of the network.
#[derive(Clone)]
pub(super) struct Block {
    norm: LayerNorm,
    image_modulation: Linear,
    text_modulation: Linear,
    attention: JointAttention,
    /// A second attention over the image alone, with three chunks of modulation of its own.
    dual_attention: Option<ImageAttention>,
    image_feed_forward: FeedForward,
    /// Absent in the last block, whose text is only attended to.
    text_feed_forward: Option<FeedForward>,
}

impl Block {
    pub(super) fn load(
        weights: &Weights,
        config: &MmditConfig,
        index: usize,
    ) -> Result<Self, LoadError> {
        let d = config.width();
        let dual = config.dual_attention_layers.contains(&index);
        let text_goes_on = index + 1 < config.num_layers;
        let modulation = |name: &str, chunks: i64| {
            let weights = weights.at(name).at("linear");
            Linear::load_from(&weights, d, chunks * d, Bias::Yes, Initial::Zeros)
        };
        Ok(Self {
            norm: LayerNorm::plain(d, EPSILON),
            image_modulation: modulation("norm1", if dual { 9 } else { 6 })?,
            text_modulation: modulation("norm1_context", if text_goes_on { 6 } else { 2 })?,
            attention: JointAttention::load(&weights.at("attn"), config, text_goes_on)?,
            dual_attention: dual
                .then(|| ImageAttention::load(&weights.at("attn2"), config))
                .transpose()?,
            image_feed_forward: FeedForward::load(&weights.at("ff"), d)?,
            text_feed_forward: text_goes_on
                .then(|| FeedForward::load(&weights.at("ff_context"), d))
                .transpose()?,
        })
    }

    /// This block's part of the modulations.
    pub(super) fn modulation(
        &self,
        condition_rd: &Tensor,
        adapter: Option<&Adapter>,
    ) -> BlockModulation {
        BlockModulation {
            image_rd: self.image_modulation.forward(condition_rd, adapter),
            text_rd: self.text_modulation.forward(condition_rd, adapter),
        }
    }

    /// As `forward`, keeping nothing but what goes in.
    pub(super) fn forward_recomputed(
        &self,
        image_btd: Tensor,
        text_btd: &Tensor,
        last: &LastPosition,
        modulation: &BlockModulation,
        adapter: Option<&Adapter>,
    ) -> (Tensor, Option<Tensor>) {
        let BlockModulation { image_rd, text_rd } = modulation;
        let shared = [text_btd, image_rd, text_rd].map(Tensor::shallow_clone);
        let [text_btd, image_rd, text_rd] = shared;
        let (block, last, adapter) = (self.clone(), last.clone(), adapter.cloned());
        let mut outputs = recompute(&[image_btd, text_btd, image_rd, text_rd], move |inputs| {
            let [image_btd, text_btd, modulation @ ..] = inputs else {
                unreachable!("the four inputs above")
            };
            let [image_rd, text_rd] = [0, 1].map(|at: usize| modulation[at].shallow_clone());
            let modulation = BlockModulation { image_rd, text_rd };
            let (image, text) =
                block.forward(image_btd, text_btd, &last, &modulation, adapter.as_ref());
            std::iter::once(image).chain(text).collect()
        })
        .into_iter();
        let image_btd = outputs.next().expect("the block above makes an image");
        (image_btd, outputs.next())
    }

    /// Image and text after this block; no text after the last one.
    pub(super) fn forward(
        &self,
        image_btd: &Tensor,
        text_btd: &Tensor,
        last: &LastPosition,
        modulation: &BlockModulation,
        adapter: Option<&Adapter>,
    ) -> (Tensor, Option<Tensor>) {
        let text_normed = self.norm.forward(text_btd);
        let Some(text_feed_forward) = &self.text_feed_forward else {
            let [scale, shift] = chunks(&modulation.text_rd);
            let text_in = modulate(&text_normed, &shift, &scale);
            return (self.image(image_btd, &text_in, last, modulation, adapter).0, None);
        };
        let [shift, scale, gate, shift_ff, scale_ff, gate_ff] = chunks(&modulation.text_rd);
        let text_in = modulate(&text_normed, &shift, &scale);
        let (image_btd, text_out) = self.image(image_btd, &text_in, last, modulation, adapter);
        let text_out = text_out.expect("text goes on wherever it has a feed-forward part");
        let text_btd = text_btd.addcmul(&gate, &text_out);
        let text_in = modulate(&self.norm.forward(&text_btd), &shift_ff, &scale_ff);
        let text_btd = text_btd.addcmul(&gate_ff, &text_feed_forward.forward(&text_in, adapter));
        (image_btd, Some(text_btd))
    }

    /// The image after this block, and what the text takes from the joint attention.
    fn image(
        &self,
        image_btd: &Tensor,
        text_in_btd: &Tensor,
        last: &LastPosition,
        modulation: &BlockModulation,
        adapter: Option<&Adapter>,
    ) -> (Tensor, Option<Tensor>) {
        let normed = self.norm.forward(image_btd);
        let joint = |shift: &Tensor, scale: &Tensor, gate: &Tensor| {
            let image_in = modulate(&normed, shift, scale);
            let (out, text) = self.attention.forward(&image_in, text_in_btd, last, adapter);
            (image_btd.addcmul(gate, &out), text)
        };
        let (image_btd, text, [shift_ff, scale_ff, gate_ff]) = match &self.dual_attention {
            None => {
                let [shift, scale, gate, feed_forward @ ..] = chunks::<6>(&modulation.image_rd);
                let (image, text) = joint(&shift, &scale, &gate);
                (image, text, feed_forward)
            }
            Some(attention) => {
                let [shift, scale, gate, a, b, c, dual_shift, dual_scale, dual_gate] =
                    chunks::<9>(&modulation.image_rd);
                let (image, text) = joint(&shift, &scale, &gate);
                let image_in = modulate(&normed, &dual_shift, &dual_scale);
                let out = attention.forward(&image_in, adapter);
                (image.addcmul(&dual_gate, &out), text, [a, b, c])
            }
        };
        let image_in = modulate(&self.norm.forward(&image_btd), &shift_ff, &scale_ff);
        let out = self.image_feed_forward.forward(&image_in, adapter);
        (image_btd.addcmul(&gate_ff, &out), text)
    }
}
