//! Tables of learned vectors.

use tch::{Kind, Tensor};

use crate::torch::{LoadError, Weights};

/// A table with one row per id.
pub struct Embedding {
    weight_vd: Tensor,
}

impl Embedding {
    /// Reads `weight [rows, width]`.
    pub fn load(weights: &Weights, rows: i64, width: i64) -> Result<Self, LoadError> {
        Ok(Self { weight_vd: weights.tensor("weight", &[rows, width])? })
    }

    /// `ids [..]`, int64 on the table's device and below its number of rows, to `[.., width]`.
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight_vd, ids, -1, false, false)
    }

    /// The table `[rows, width]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight_vd
    }
}

/// Sines and cosines of `positions [n]` at `width / 2` frequencies from 1 down to 1/10000
/// (Vaswani et al., 2017, as Ho et al., 2020 embed diffusion times): `[n, width]` in float32, all
/// cosines first.
pub fn timestep_embedding(positions: &Tensor, width: i64) -> Tensor {
    let half = width / 2;
    let exponents = Tensor::arange(half, (Kind::Float, positions.device()));
    let frequencies = (exponents * (-(10_000_f64.ln())) / half as f64).exp();
    let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * frequencies;
    Tensor::cat(&[angles.cos(), angles.sin()], -1)
}
