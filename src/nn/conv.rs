//! Convolutions.

use tch::Tensor;

use super::in_kind;
use super::linear::Bias;
use crate::torch::{Initial, LoadError, Weights};

/// The shape of a two-dimensional convolution with square kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels in.
    pub inputs: i64,
    /// Channels out.
    pub outputs: i64,
    /// Side of the kernel.
    pub kernel: i64,
    /// Step between outputs.
    pub stride: i64,
    /// Zeros added on every side.
    pub padding: i64,
    /// Whether it adds a bias.
    pub bias: Bias,
}

/// A two-dimensional convolution.
pub struct Conv2d {
    weight_oikk: Tensor,
    bias_o: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Reads `weight [outputs, inputs, kernel, kernel]` and, if asked, `bias [outputs]`.
    pub fn load(weights: &Weights, shape: ConvShape) -> Result<Self, LoadError> {
        let ConvShape { inputs, outputs, kernel, stride, padding, bias } = shape;
        Ok(Self {
            weight_oikk: weights.parameter(
                "weight",
                &[outputs, inputs, kernel, kernel],
                Initial::FanIn,
            )?,
            bias_o: bias.load(weights, outputs)?,
            stride,
            padding,
        })
    }

    /// `x [b, inputs, h, w]` to `[b, outputs, h', w']`, in x's dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let stride = [self.stride; 2];
        let padding = [self.padding; 2];
        let weight_oikk = in_kind(&self.weight_oikk, x.kind());
        let bias_o = self.bias_o.as_ref().map(|bias_o| in_kind(bias_o, x.kind()));
        x.conv2d(&weight_oikk, bias_o.as_ref(), stride, padding, [1, 1], 1)
    }
}
