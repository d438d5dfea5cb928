//! Linear layers with an optional low-rank update chosen per call.

use tch::Tensor;

use super::adapter::Adapter;
use crate::torch::{Initial, LoadError, Weights, linear};

/// Whether a layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has one.
    Yes,
    /// It has none.
    No,
}

impl Bias {
    /// Reads `bias [outputs]` below `weights`, if there is one.
    pub(super) fn load(self, weights: &Weights, outputs: i64) -> Result<Option<Tensor>, LoadError> {
        match self {
            Self::Yes => weights.parameter("bias", &[outputs], Initial::Zeros).map(Some),
            Self::No => Ok(None),
        }
    }
}

/// y = x Wᵀ + b, and + scale · x Aᵀ Bᵀ where the adapter of the call has an update for this layer.
pub struct Linear {
    name: String,
    weight_oi: Tensor,
    /// Where the weight is only the beginning of `weight_oi`: its number of rows.
    first_rows: Option<i64>,
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
        Self::load_from(weights, inputs, outputs, bias, Initial::FanIn)
    }

    /// As `load`; in a model made from nothing its weight begins as `initial`.
    pub fn load_from(
        weights: &Weights,
        inputs: i64,
        outputs: i64,
        bias: Bias,
        initial: Initial,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            name: weights.full_name(""),
            weight_oi: weights.parameter("weight", &[outputs, inputs], initial)?,
            first_rows: None,
            bias_o: bias.load(weights, outputs)?,
        })
    }

    /// A layer without bias, named after `weights`' prefix, over the first `outputs` rows of a
    /// table that another layer owns. They are taken anew in every pass: a slice taken once would
    /// keep a history of its own.
    pub fn sharing(weights: &Weights, table: &Tensor, outputs: i64) -> Self {
        Self {
            name: weights.full_name(""),
            weight_oi: table.shallow_clone(),
            first_rows: Some(outputs),
            bias_o: None,
        }
    }

    /// `x [.., inputs]` to `[.., outputs]`, in x's dtype.
    pub fn forward(&self, x: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let base = match self.first_rows {
            None => linear(x, &self.weight_oi, self.bias_o.as_ref()),
            Some(_) => linear(x, &self.weight(), None),
        };
        match adapter {
            None => base,
            Some(adapter) => adapter.adapt(&self.name, x, base),
        }
    }

    /// The weight `[outputs, inputs]`.
    pub fn weight(&self) -> Tensor {
        match self.first_rows {
            None => self.weight_oi.shallow_clone(),
            Some(outputs) => self.weight_oi.narrow(0, 0, outputs),
        }
    }

    /// Full name of the layer, without `.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Clone for Linear {
    /// Shares the weights.
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            weight_oi: self.weight_oi.shallow_clone(),
            first_rows: self.first_rows,
            bias_o: self.bias_o.as_ref().map(Tensor::shallow_clone),
        }
    }
}
