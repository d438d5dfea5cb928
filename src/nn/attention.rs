//! Scaled dot-product attention and the choice of its kernel.

use std::cell::RefCell;
use std::collections::BTreeSet;

use tch::Tensor;

/// What a query position may attend to.
#[derive(Clone, Copy)]
pub enum Mask<'a> {
    /// Everything.
    None,
    /// Itself and what stands before it; queries and keys have equal length.
    Causal,
    /// An additive mask `[b or 1, h or 1, t, s]` in the queries' dtype.
    Additive(&'a Tensor),
}

/// Attention over `query [b, h, t, e]`, `key` and `value [b, g, s, e]`, where each of the g heads
/// serves h / g query heads. Returns `[b, h, t, e]`. Scores are scaled by 1/√e.
///
/// Flash kernels take grouped heads but no mask, memory-efficient ones a mask but no grouped
/// heads, and anything else falls back silently to quadratic mathematics: so heads are repeated
/// exactly where there is a mask. A single position needs neither: the query heads that share a
/// key head stand in as its positions, and nothing is repeated.
pub fn attend(query: &Tensor, key: &Tensor, value: &Tensor, mask: Mask<'_>) -> Tensor {
    attend_scaled(query, key, value, mask, None)
}

/// As `attend`, with the factor of the scores given (T5 has 1); `None` is 1/√e.
pub fn attend_scaled(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    mask: Mask<'_>,
    scale: Option<f64>,
) -> Tensor {
    let groups = query.size()[1] / key.size()[1];
    let plain = |key: &Tensor, value: &Tensor, mask: Option<&Tensor>, causal, grouped| {
        record(|| AttentionCall {
            query: query.size(),
            key: key.size(),
            kernel: match Tensor::internal_fused_sdp_choice(
                query, key, value, mask, 0.0, causal, scale, grouped,
            ) {
                0 => AttentionKernel::Math,
                1 => AttentionKernel::Flash,
                2 => AttentionKernel::Efficient,
                3 => AttentionKernel::Cudnn,
                _ => AttentionKernel::Other,
            },
        });
        Tensor::scaled_dot_product_attention(query, key, value, mask, 0.0, causal, scale, grouped)
    };
    if groups > 1 && query.size()[2] == 1 {
        let grouped = query.unflatten(1, [-1, groups]).squeeze_dim(3);
        let mask = match mask {
            Mask::None | Mask::Causal => Mask::None,
            additive @ Mask::Additive(_) => additive,
        };
        return attend_scaled(&grouped, key, value, mask, scale).flatten(1, 2).unsqueeze(2);
    }
    match mask {
        Mask::None => plain(key, value, None, false, groups > 1),
        Mask::Causal => plain(key, value, None, true, groups > 1),
        Mask::Additive(mask) if groups > 1 => {
            let key = key.repeat_interleave_self_int(groups, 1, None);
            let value = value.repeat_interleave_self_int(groups, 1, None);
            plain(&key, &value, Some(mask), false, false)
        }
        Mask::Additive(mask) => plain(key, value, Some(mask), false, false),
    }
}

/// Kernels that libtorch has for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttentionKernel {
    /// Two products and a softmax, quadratic in memory.
    Math,
    /// Flash attention.
    Flash,
    /// Memory-efficient attention.
    Efficient,
    /// cuDNN's.
    Cudnn,
    /// Another device's own.
    Other,
}

/// A call of libtorch's attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttentionCall {
    /// Shape of the queries.
    pub query: Vec<i64>,
    /// Shape of the keys.
    pub key: Vec<i64>,
    /// What libtorch took for it.
    pub kernel: AttentionKernel,
}

thread_local! {
    static RECORD: RefCell<Option<BTreeSet<AttentionCall>>> = const { RefCell::new(None) };
}

fn record(call: impl FnOnce() -> AttentionCall) {
    RECORD.with_borrow_mut(|record| {
        if let Some(calls) = record {
            calls.insert(call());
        }
    });
}

/// Runs `body` and gives, beside its result, the calls of attention that it made on this thread,
/// equal ones once.
pub fn with_attention_recorded<T>(body: impl FnOnce() -> T) -> (T, BTreeSet<AttentionCall>) {
    RECORD.set(Some(BTreeSet::new()));
    let result = body();
    (result, RECORD.take().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, no_grad};

    use super::*;

    #[test]
    fn calls_are_recorded_once_and_only_when_asked_for() {
        let x =
            |heads, positions| Tensor::ones([1, heads, positions, 8], (Kind::Float, Device::Cpu));
        let (query, key) = (x(4, 5), x(2, 5));
        let attend = || no_grad(|| attend(&query, &key, &key, Mask::Causal));
        let (plain, calls) = with_attention_recorded(|| {
            drop(attend());
            attend()
        });
        assert_eq!(attend(), plain);
        let calls: Vec<_> = calls.into_iter().collect();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].query[1], calls[0].key[1]), (4, 2));
        assert_eq!(calls[0].kernel, AttentionKernel::Flash);
    }
}
