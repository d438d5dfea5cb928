//! Linear layers with an optional low-rank update chosen per call.

use tch::Tensor;

use super::adapter::Adapter;
use crate::torch::{LoadError, Weights, linear};

/// Whether a layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has one.
    Yes,
    /// It has none.
    No,
}

/// y = x Wᵀ + b, and + scale · x Aᵀ Bᵀ where the adapter of the call has an update for this layer.
pub struct Linear {
    name: String,
    weight_oi: Tensor,
    bias_o: Option<Tensor>,
}

impl Linear {
    /// Reads `weight [outputs, inputs]` and, if asked, `bias [outputs]` below `weights`.
    pub fn load(
        weights: &Weights,
        inputs: i64,
        outputs: i64,
        bias: Bias,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            name: weights.full_name(""),
            weight_oi: weights.tensor("weight", &[outputs, inputs])?,
            bias_o: match bias {
                Bias::Yes => Some(weights.tensor("bias", &[outputs])?),
                Bias::No => None,
            },
        })
    }

    /// A layer without bias, named after `weights`' prefix, over a weight `[outputs, inputs]` that
    /// another layer owns.
    pub fn sharing(weights: &Weights, weight_oi: Tensor) -> Self {
        Self { name: weights.full_name(""), weight_oi, bias_o: None }
    }

    /// `x [.., inputs]` to `[.., outputs]`, in x's dtype.
    pub fn forward(&self, x: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let base = linear(x, &self.weight_oi, self.bias_o.as_ref());
        match adapter.and_then(|adapter| adapter.layer(&self.name)) {
            None => base,
            Some(lora) => base + linear(&linear(x, &lora.a, None), &lora.b, None) * lora.scale,
        }
    }

    /// The weight `[outputs, inputs]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight_oi
    }
}
