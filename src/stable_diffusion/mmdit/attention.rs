//! Attention over image and text together.
//!
//! Axes: b batch, t position, s attended position, d width, h head, e head width.

use tch::{Device, Tensor};

use super::super::config::{MmditConfig, QkNorm};
use super::EPSILON;
use crate::nn::{Adapter, Bias, Linear, Mask, RmsNorm, attend};
use crate::torch::{LoadError, Weights};

/// How the last attended position comes to count for several equal ones. Both ways are exact.
pub(super) enum LastPosition {
    /// It counts once.
    Once,
    /// ln(count) is added to its scores: `[1, 1, 1, s]`, zero elsewhere. Fewer positions to
    /// attend to, but with a mask there is no flash kernel on CUDA.
    Weighted(Tensor),
    /// Its key and value are repeated this many times in all.
    Repeated(i64),
}

impl LastPosition {
    /// The faster way on the device of `text_btd`, whose last token stands for `count` tokens and
    /// follows `image` positions of the image.
    pub(super) fn new(count: i64, image: i64, text_btd: &Tensor) -> Self {
        match (count, text_btd.device()) {
            (1, _) => Self::Once,
            (_, Device::Cpu) => Self::weighted(count, image, text_btd),
            _ => Self::Repeated(count),
        }
    }

    fn weighted(count: i64, image: i64, text_btd: &Tensor) -> Self {
        let s = image + text_btd.size()[1];
        let mask = Tensor::zeros([1, 1, 1, s], (text_btd.kind(), text_btd.device()));
        let _ = mask.narrow(3, s - 1, 1).fill_((count as f64).ln());
        Self::Weighted(mask)
    }

    /// Attention of `query`, `key` and `value` `[b, t or s, d]` in `heads` heads: `[b, t, d]`.
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor, heads: i64) -> Tensor {
        let split = |x: &Tensor| {
            let (b, t, d) = x.size3().expect("attention takes three axes");
            x.view([b, t, heads, d / heads]).transpose(1, 2)
        };
        let mixed_bhte = match self {
            Self::Once => attend(&split(query), &split(key), &split(value), Mask::None),
            Self::Weighted(mask) => {
                attend(&split(query), &split(key), &split(value), Mask::Additive(mask))
            }
            Self::Repeated(count) => {
                let repeat = |x: &Tensor| {
                    let (b, s, d) = x.size3().expect("attention takes three axes");
                    let last = x.narrow(1, s - 1, 1).expand([b, count - 1, d], false);
                    Tensor::cat(&[x, &last], 1)
                };
                let (key, value) = (repeat(key), repeat(value));
                attend(&split(query), &split(&key), &split(&value), Mask::None)
            }
        };
        mixed_bhte.transpose(1, 2).flatten(2, 3)
    }
}

impl Clone for LastPosition {
    /// Shares the mask.
    fn clone(&self) -> Self {
        match self {
            Self::Once => Self::Once,
            Self::Weighted(mask) => Self::Weighted(mask.shallow_clone()),
            Self::Repeated(count) => Self::Repeated(*count),
        }
    }
}

/// Projections of one stream.
#[derive(Clone)]
pub(super) struct Stream {
    query: Linear,
    key: Linear,
    value: Linear,
    /// Of queries and of keys.
    norms: Option<[RmsNorm; 2]>,
    heads: i64,
}

impl Stream {
    /// Reads the projections called `names` (query, key, value) and the norms called `norms`.
    fn load(
        weights: &Weights,
        config: &MmditConfig,
        names: [&str; 3],
        norms: [&str; 2],
    ) -> Result<Self, LoadError> {
        let d = config.width();
        let linear = |name: &str| Linear::load(&weights.at(name), d, d, Bias::Yes);
        let norm =
            |name: &str| RmsNorm::load(&weights.at(name), config.attention_head_dim, EPSILON);
        Ok(Self {
            query: linear(names[0])?,
            key: linear(names[1])?,
            value: linear(names[2])?,
            norms: match config.qk_norm {
                None => None,
                Some(QkNorm::RmsNorm) => Some([norm(norms[0])?, norm(norms[1])?]),
            },
            heads: config.num_attention_heads,
        })
    }

    fn load_image(weights: &Weights, config: &MmditConfig) -> Result<Self, LoadError> {
        Self::load(weights, config, ["to_q", "to_k", "to_v"], ["norm_q", "norm_k"])
    }

    fn load_text(weights: &Weights, config: &MmditConfig) -> Result<Self, LoadError> {
        let names = ["add_q_proj", "add_k_proj", "add_v_proj"];
        Self::load(weights, config, names, ["norm_added_q", "norm_added_k"])
    }

    /// Normalises `x [b, t, d]` head by head.
    fn normalise(&self, x: Tensor, which: usize) -> Tensor {
        match &self.norms {
            None => x,
            Some(norms) => {
                let (b, t, d) = x.size3().expect("attention takes three axes");
                let x_bthe = x.view([b, t, self.heads, d / self.heads]);
                norms[which].forward(&x_bthe).view([b, t, d])
            }
        }
    }

    fn query(&self, x_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        self.normalise(self.query.forward(x_btd, adapter), 0)
    }

    fn key(&self, x_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        self.normalise(self.key.forward(x_btd, adapter), 1)
    }

    fn value(&self, x_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        self.value.forward(x_btd, adapter)
    }
}

/// Attention of the image over itself.
#[derive(Clone)]
pub(super) struct ImageAttention {
    stream: Stream,
    out: Linear,
}

impl ImageAttention {
    pub(super) fn load(weights: &Weights, config: &MmditConfig) -> Result<Self, LoadError> {
        let d = config.width();
        let stream = Stream::load_image(weights, config)?;
        let out = Linear::load(&weights.at("to_out.0"), d, d, Bias::Yes)?;
        Ok(Self { stream, out })
    }

    pub(super) fn forward(&self, image_btd: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let stream = &self.stream;
        let (query, key, value) = (
            stream.query(image_btd, adapter),
            stream.key(image_btd, adapter),
            stream.value(image_btd, adapter),
        );
        self.out.forward(&LastPosition::Once.attend(&query, &key, &value, stream.heads), adapter)
    }
}

/// Attention of image and text over both.
#[derive(Clone)]
pub(super) struct JointAttention {
    image: ImageAttention,
    text: Stream,
    /// Absent in the last block, whose text is only attended to.
    text_out: Option<Linear>,
}

impl JointAttention {
    pub(super) fn load(
        weights: &Weights,
        config: &MmditConfig,
        text_goes_on: bool,
    ) -> Result<Self, LoadError> {
        let d = config.width();
        Ok(Self {
            image: ImageAttention::load(weights, config)?,
            text: Stream::load_text(weights, config)?,
            text_out: text_goes_on
                .then(|| Linear::load(&weights.at("to_add_out"), d, d, Bias::Yes))
                .transpose()?,
        })
    }

    /// What image and text take from both; nothing for the text where it does not go on, whose
    /// queries are then not even computed.
    pub(super) fn forward(
        &self,
        image_btd: &Tensor,
        text_btd: &Tensor,
        last: &LastPosition,
        adapter: Option<&Adapter>,
    ) -> (Tensor, Option<Tensor>) {
        let (image, text) = (&self.image.stream, &self.text);
        let both = |a: Tensor, b: Tensor| Tensor::cat(&[a, b], 1);
        let key = both(image.key(image_btd, adapter), text.key(text_btd, adapter));
        let value = both(image.value(image_btd, adapter), text.value(text_btd, adapter));
        let query = image.query(image_btd, adapter);
        let Some(text_out) = &self.text_out else {
            let mixed = last.attend(&query, &key, &value, image.heads);
            return (self.image.out.forward(&mixed, adapter), None);
        };
        let query = both(query, text.query(text_btd, adapter));
        let mixed = last.attend(&query, &key, &value, image.heads);
        let sizes = [image_btd.size()[1], text_btd.size()[1]];
        let mut parts = mixed.split_with_sizes(sizes, 1).into_iter();
        let mut part = || parts.next().expect("split into two").contiguous();
        let (image_mixed, text_mixed) = (part(), part());
        let text = text_out.forward(&text_mixed, adapter);
        (self.image.out.forward(&image_mixed, adapter), Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch::Generator;

    #[test]
    fn a_last_position_weighs_what_its_repetitions_would() {
        let mut generator = Generator::new(3);
        let mut draw = |t: i64| generator.randn(&[2, t, 8]);
        let (query, key, value) = (draw(5), draw(7), draw(7));
        let text = key.narrow(1, 4, 3);
        let weighted = LastPosition::weighted(9, 4, &text).attend(&query, &key, &value, 2);
        let repeated = LastPosition::Repeated(9).attend(&query, &key, &value, 2);
        let once = LastPosition::Once.attend(&query, &key, &value, 2);
        assert!(f64::try_from((&weighted - &repeated).abs().max()).unwrap() < 1e-6);
        assert!(f64::try_from((&once - &repeated).abs().max()).unwrap() > 1e-2);
    }
}
