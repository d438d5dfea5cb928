//! Captions as the transformer takes them.
//!
//! Axes: b batch, t position, d width.

use tch::Tensor;

use super::mmdit::Context;
use crate::tokens::T5_POSITIONS;

/// Captions as token embeddings of the CLIP encoders, through which gradients may flow.
pub struct EmbeddedCaptions<'a> {
    /// `[b, t, d]` in CLIP-L's width, without positions.
    pub clip_l_btd: &'a Tensor,
    /// Position of each caption's end of text, `b` of them (`ClipTextEncoder::end_of_text`).
    pub clip_l_ends: &'a [i64],
    /// `[b, t, d]` in CLIP-G's width, without positions.
    pub clip_g_btd: &'a Tensor,
    /// As for CLIP-L.
    pub clip_g_ends: &'a [i64],
    /// T5's ids `[b, 256]`, int64; `None` stands for zeros instead of its output.
    pub t5_ids_bt: Option<&'a Tensor>,
}

/// What the transformer is told of captions.
pub struct TextConditioning {
    context: Context,
    pooled_bp: Tensor,
}

impl TextConditioning {
    /// From `prompt_embeds [b, t, joint]` and `pooled [b, p]`, both in the transformer's format.
    pub fn new(prompt_embeds: Tensor, pooled: Tensor) -> Self {
        Self { context: Context::plain(prompt_embeds), pooled_bp: pooled }
    }

    /// From both CLIPs' hidden states and pooled vectors and T5's hidden states `[b, 256, joint]`,
    /// which are zeros where there are none.
    pub(super) fn assemble(
        clip_btd: &Tensor,
        t5_btd: Option<&Tensor>,
        pooled_bp: Tensor,
        joint: i64,
    ) -> Self {
        let (b, _, d) = clip_btd.size3().expect("hidden states have three axes");
        let clip_btd = clip_btd.constant_pad_nd([0, joint - d]);
        let context = if let Some(t5_btd) = t5_btd {
            Context::plain(Tensor::cat(&[&clip_btd, t5_btd], 1))
        } else {
            let zero = Tensor::zeros([b, 1, joint], (clip_btd.kind(), clip_btd.device()));
            let tokens_btd = Tensor::cat(&[clip_btd, zero], 1);
            Context { tokens_btd, last_count: T5_POSITIONS as i64 }
        };
        Self { context, pooled_bp }
    }

    /// `[b, 77 + 256, joint]`: the CLIPs' hidden states side by side and filled up with zeros,
    /// then T5's.
    pub fn prompt_embeds(&self) -> Tensor {
        let Context { tokens_btd, last_count } = &self.context;
        let (b, t, d) = tokens_btd.size3().expect("tokens have three axes");
        match last_count {
            1 => tokens_btd.shallow_clone(),
            count => {
                let last = tokens_btd.narrow(1, t - 1, 1).expand([b, count - 1, d], false);
                Tensor::cat(&[tokens_btd, &last], 1)
            }
        }
    }

    /// Pooled vectors of CLIP-L and CLIP-G side by side, `[b, p]`.
    pub fn pooled(&self) -> &Tensor {
        &self.pooled_bp
    }

    /// Number of captions.
    pub fn batch(&self) -> i64 {
        self.pooled_bp.size()[0]
    }

    /// The tokens, with equal ones at the end folded.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The single caption `count` times, or the `count` captions there are.
    pub(super) fn repeated(&self, count: i64) -> Self {
        let expand = |x: &Tensor| {
            let mut size = x.size();
            size[0] = count;
            x.expand(size, false)
        };
        let context = Context {
            tokens_btd: expand(&self.context.tokens_btd),
            last_count: self.context.last_count,
        };
        Self { context, pooled_bp: expand(&self.pooled_bp) }
    }

    /// The captions of `self`, then those of `other`.
    pub(super) fn followed_by(&self, other: &Self) -> Self {
        let pooled_bp = Tensor::cat(&[&self.pooled_bp, &other.pooled_bp], 0);
        let (ours, theirs) = (&self.context, &other.context);
        let alike = ours.last_count == theirs.last_count
            && ours.tokens_btd.size()[1] == theirs.tokens_btd.size()[1];
        let context = if alike {
            let tokens_btd = Tensor::cat(&[&ours.tokens_btd, &theirs.tokens_btd], 0);
            Context { tokens_btd, last_count: ours.last_count }
        } else {
            Context::plain(Tensor::cat(&[self.prompt_embeds(), other.prompt_embeds()], 0))
        };
        Self { context, pooled_bp }
    }
}
