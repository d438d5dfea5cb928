//! Normalisation over the last axis, or over groups of channels.

use tch::{Kind, Tensor};

use super::in_kind;
use crate::torch::{Initial, LoadError, Weights};

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
            weight_d: Some(weights.parameter("weight", &[width], Initial::Ones)?),
            bias_d: Some(weights.parameter("bias", &[width], Initial::Zeros)?),
            epsilon,
        })
    }

    /// Normalisation alone, for layers whose scale and shift come from elsewhere (adaLN).
    pub fn plain(width: i64, epsilon: f64) -> Self {
        Self { width, weight_d: None, bias_d: None, epsilon }
    }

    /// `x [.., width]` to the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let cast = |weight_d: &Tensor| in_kind(weight_d, x.kind());
        let (weight_d, bias_d) = (self.weight_d.as_ref().map(cast), self.bias_d.as_ref().map(cast));
        x.layer_norm([self.width], weight_d, bias_d, self.epsilon, true)
    }
}

impl Clone for LayerNorm {
    /// Shares the weights.
    fn clone(&self) -> Self {
        let share = |weight_d: &Tensor| weight_d.shallow_clone();
        Self {
            width: self.width,
            weight_d: self.weight_d.as_ref().map(share),
            bias_d: self.bias_d.as_ref().map(share),
            epsilon: self.epsilon,
        }
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
        Ok(Self { weight_d: weights.parameter("weight", &[width], Initial::Ones)?, epsilon })
    }

    /// `x [.., width]` to the same shape and dtype. The scale is applied after rounding back to
    /// x's dtype, as Llama does.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let wide = x.to_kind(Kind::Float);
        let mean_square = wide.square().mean_dim([-1i64].as_slice(), true, Kind::Float);
        let unit = wide * (mean_square + self.epsilon).rsqrt();
        in_kind(&self.weight_d, x.kind()) * unit.to_kind(x.kind())
    }
}

impl Clone for RmsNorm {
    /// Shares the weight.
    fn clone(&self) -> Self {
        Self { weight_d: self.weight_d.shallow_clone(), epsilon: self.epsilon }
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
            weight_c: weights.parameter("weight", &[channels], Initial::Ones)?,
            bias_c: weights.parameter("bias", &[channels], Initial::Zeros)?,
            epsilon,
        })
    }

    /// `x [b, channels, ..]` to the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight_c = in_kind(&self.weight_c, x.kind());
        let bias_c = in_kind(&self.bias_c, x.kind());
        x.group_norm(self.groups, Some(weight_c), Some(bias_c), self.epsilon, true)
    }
}
