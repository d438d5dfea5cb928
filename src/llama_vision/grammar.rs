//! Where the photo tags may stand in a reply.
//!
//! A reply is text with captions between `[IMG]` and `[/IMG]` in it. Within a caption there is no
//! end-of-turn, no other control token and no further `[IMG]`; its budget forces `[/IMG]`, and so does
//! the reply's own end. `[IMG]` can't be chosen once the photo limit is reached, or where no room is
//! left for a caption. `[/IMG]` can't be chosen outside of one. In text, the only control tokens are
//! those that end the reply.
//!
//! Axes in names: v vocabulary.

use tch::{Kind, Tensor};

use crate::tokens::PhotoTags;

/// The rules of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoRules {
    /// Ids of `[IMG]` and `[/IMG]`.
    pub tags: PhotoTags,
    /// Most photos in one reply; 0 turns sharing off.
    pub photos_max: usize,
    /// Most tokens of one caption.
    pub caption_tokens_max: usize,
    /// All special tokens. None of them can stand in a caption, and in text only those that end
    /// the reply.
    pub control_tokens: Vec<u32>,
    /// Added to the logit of `[IMG]` wherever it may be chosen.
    pub logit_bias: f64,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Text or `[IMG]`.
    TextOrPhoto,
    /// Text only.
    Text,
    /// A caption's token or `[/IMG]`.
    Caption,
    /// `[/IMG]`.
    End,
}

/// The rules, ready to be applied to logits.
pub(super) struct Grammar<'a> {
    rules: &'a PhotoRules,
    /// Additive vectors `[v]`, float32 on the logits' device, for each `Next` in order.
    biases_v: [Tensor; 4],
}

impl<'a> Grammar<'a> {
    /// For replies that `end_tokens` end and logits like `logits` (its last axis is the
    /// vocabulary).
    pub(super) fn new(rules: &'a PhotoRules, end_tokens: &[u32], logits: &Tensor) -> Self {
        let vocabulary = logits.size()[logits.dim() - 1];
        let PhotoTags { img, img_end } = rules.tags;
        let within = |tokens: &[u32]| -> Vec<i64> {
            tokens.iter().map(|&id| i64::from(id)).filter(|&id| id < vocabulary).collect()
        };
        let bias = |base: f64, tokens: &[u32], value: f64| {
            let bias_v = Tensor::full([vocabulary], base, (Kind::Float, logits.device()));
            let tokens = Tensor::from_slice(&within(tokens)).to_device(logits.device());
            bias_v.index_fill(0, &tokens, value)
        };
        let never = f64::NEG_INFINITY;
        let img_index = Tensor::from_slice(&within(&[img])).to_device(logits.device());
        let controls_but = |kept: &[u32], also: &[u32]| -> Vec<u32> {
            let controls = rules.control_tokens.iter().filter(|id| !kept.contains(id));
            controls.chain(also).copied().collect()
        };
        let untold = controls_but(end_tokens, &[img, img_end]);
        let uncaptioned = controls_but(&[img_end], &[img]);
        let text_or_photo_v = bias(0.0, &untold, never).index_fill(0, &img_index, rules.logit_bias);
        Self {
            rules,
            biases_v: [
                text_or_photo_v,
                bias(0.0, &untold, never),
                bias(0.0, &uncaptioned, never),
                bias(never, &[img_end], 0.0),
            ],
        }
    }

    /// What to add to the logits `[v]` of the next token: −∞ where it can't stand, the bias at
    /// `[IMG]` where that can.
    pub(super) fn bias(&self, next: Next) -> &Tensor {
        &self.biases_v[next as usize]
    }

    /// Log-probabilities `[v]` of the next token: those of the biased model, −∞ where it can't
    /// stand. What is forbidden does not raise the others' probability, so that hypotheses stay
    /// comparable.
    pub(super) fn log_probabilities(&self, next: Next, logits_v: &Tensor) -> Tensor {
        let img = i64::from(self.rules.tags.img);
        let biased_v = if next == Next::TextOrPhoto {
            let photo = logits_v.narrow(0, img, 1) + self.rules.logit_bias;
            logits_v.slice_scatter(&photo, 0, img, img + 1, 1)
        } else {
            logits_v.shallow_clone()
        };
        let forbidden_v = self.bias(next).isneginf();
        biased_v.log_softmax(-1, Kind::Float).masked_fill(&forbidden_v, f64::NEG_INFINITY)
    }

    pub(super) fn photo_token(&self) -> u32 {
        self.rules.tags.img
    }
}

/// How far a reply has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Place {
    photos: usize,
    /// Tokens of the caption that is open.
    caption: Option<usize>,
}

impl Place {
    /// What may come next when `room` more tokens (at least one) fit in the reply.
    pub(super) fn next(&self, rules: &PhotoRules, room: usize) -> Next {
        /// `[IMG]`, one token and `[/IMG]`.
        const PHOTO_TOKENS_MIN: usize = 3;
        match self.caption {
            Some(tokens) if tokens >= rules.caption_tokens_max || room <= 1 => Next::End,
            Some(_) => Next::Caption,
            None if self.photos < rules.photos_max
                && rules.caption_tokens_max > 0
                && room >= PHOTO_TOKENS_MIN =>
            {
                Next::TextOrPhoto
            }
            None => Next::Text,
        }
    }

    /// The place after `token`, which the grammar allowed.
    pub(super) fn advance(&mut self, rules: &PhotoRules, token: u32) {
        match &mut self.caption {
            None if token == rules.tags.img => {
                self.photos += 1;
                self.caption = Some(0);
            }
            Some(_) if token == rules.tags.img_end => self.caption = None,
            Some(tokens) => *tokens += 1,
            None => {}
        }
    }
}

impl Grammar<'_> {
    /// As `Place::next`.
    pub(super) fn next(&self, place: &Place, room: usize) -> Next {
        place.next(self.rules, room)
    }

    /// As `Place::advance`.
    pub(super) fn advance(&self, place: &mut Place, token: u32) {
        place.advance(self.rules, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u32 = 4;
    const END: u32 = 5;

    fn rules() -> PhotoRules {
        PhotoRules {
            tags: PhotoTags { img: BEGIN, img_end: END },
            photos_max: 1,
            caption_tokens_max: 2,
            control_tokens: vec![0, 1, BEGIN, END],
            logit_bias: 0.5,
        }
    }

    fn after(rules: &PhotoRules, tokens: &[u32]) -> Place {
        let mut place = Place::default();
        for &token in tokens {
            place.advance(rules, token);
        }
        place
    }

    #[test]
    fn the_budget_closes_a_caption_and_the_limit_forbids_another() {
        let rules = rules();
        assert_eq!(after(&rules, &[]).next(&rules, 9), Next::TextOrPhoto);
        assert_eq!(after(&rules, &[7]).next(&rules, 9), Next::TextOrPhoto);
        assert_eq!(after(&rules, &[7, BEGIN]).next(&rules, 9), Next::Caption);
        assert_eq!(after(&rules, &[BEGIN, 7]).next(&rules, 9), Next::Caption);
        assert_eq!(after(&rules, &[BEGIN, 7, 7]).next(&rules, 9), Next::End);
        assert_eq!(after(&rules, &[BEGIN, 7, END]).next(&rules, 9), Next::Text);
    }

    #[test]
    fn the_replys_end_closes_a_caption_and_leaves_no_room_for_one() {
        let rules = rules();
        assert_eq!(after(&rules, &[BEGIN]).next(&rules, 2), Next::Caption);
        assert_eq!(after(&rules, &[BEGIN, 7]).next(&rules, 1), Next::End);
        assert_eq!(after(&rules, &[]).next(&rules, 3), Next::TextOrPhoto);
        assert_eq!(after(&rules, &[]).next(&rules, 2), Next::Text);
    }

    #[test]
    fn photos_that_are_off_can_not_be_chosen() {
        let off = PhotoRules { photos_max: 0, ..rules() };
        assert_eq!(Place::default().next(&off, 9), Next::Text);
    }

    #[test]
    fn biases_allow_exactly_what_may_come() {
        let rules = rules();
        let grammar = Grammar::new(&rules, &[1], &Tensor::zeros([1, 7], tch::kind::FLOAT_CPU));
        let never = f32::NEG_INFINITY;
        let bias = |next| Vec::<f32>::try_from(grammar.bias(next)).unwrap();
        assert_eq!(bias(Next::TextOrPhoto), [never, 0.0, 0.0, 0.0, 0.5, never, 0.0]);
        assert_eq!(bias(Next::Text), [never, 0.0, 0.0, 0.0, never, never, 0.0]);
        assert_eq!(bias(Next::Caption), [never, never, 0.0, 0.0, never, 0.0, 0.0]);
        assert_eq!(bias(Next::End), [never, never, never, never, never, 0.0, never]);
    }
}
