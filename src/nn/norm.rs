//! Normalisation over the last axis, or over groups of channels.

use tch::{Kind, Tensor};

use crate::torch::{LoadError, Weights};

/// Layer normalisation with or without learned scale and shift.
pub struct LayerNorm {
    width: i64,
    weight_d: Option<Tensor>,
    bias_d: Option<Tensor>,
    epsilon: f64,
}

impl LayerNorm {
    /// Reads `weight [width]` and `bias [width]`.
    pub fn load(weights: &Weights, width: i64, epsilon: f64) -> Result<Self, LoadError> {
        Ok(Self {
            width,
            weight_d: Some(weights.tensor("weight", &[width])?),
            bias_d: Some(weights.tensor("bias", &[width])?),
            epsilon,
        })
    }

    /// Normalisation alone, for layers whose scale and shift come from elsewhere (adaLN).
    pub fn plain(width: i64, epsilon: f64) -> Self {
        Self { width, weight_d: None, bias_d: None, epsilon }
    }

    /// `x [.., width]` to the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm([self.width], self.weight_d.as_ref(), self.bias_d.as_ref(), self.epsilon, true)
    }
}

/// Root-mean-square normalisation, computed in float32 (Zhang and Sennrich, 2019).
pub struct RmsNorm {
    weight_d: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// Reads `weight [width]`.
    pub fn load(weights: &Weights, width: i64, epsilon: f64) -> Result<Self, LoadError> {
        Ok(Self { weight_d: weights.tensor("weight", &[width])?, epsilon })
    }

    /// `x [.., width]` to the same shape and dtype. The scale is applied after rounding back to
    /// x's dtype, as Llama does.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let wide = x.to_kind(Kind::Float);
        let mean_square = wide.square().mean_dim([-1i64].as_slice(), true, Kind::Float);
        let unit = wide * (mean_square + self.epsilon).rsqrt();
        &self.weight_d * unit.to_kind(x.kind())
    }
}

/// Group normalisation with learned scale and shift (Wu and He, 2018).
pub struct GroupNorm {
    groups: i64,
    weight_c: Tensor,
    bias_c: Tensor,
    epsilon: f64,
}

impl GroupNorm {
    /// Reads `weight [channels]` and `bias [channels]`; `groups` divides `channels`.
    pub fn load(
        weights: &Weights,
        groups: i64,
        channels: i64,
        epsilon: f64,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            groups,
            weight_c: weights.tensor("weight", &[channels])?,
            bias_c: weights.tensor("bias", &[channels])?,
            epsilon,
        })
    }

    /// `x [b, channels, ..]` to the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight_c), Some(&self.bias_c), self.epsilon, true)
    }
}
