//! Tables of learned vectors.

use tch::{Kind, Tensor};

use super::adapter::Adapter;
use super::in_kind;
use crate::torch::{Initial, LoadError, Weights};

/// Standard deviation of the rows of a table made from nothing.
const DEVIATION: f64 = 0.02;

/// A table with one row per id.
pub struct Embedding {
    name: String,
    weight_vd: Tensor,
    kind: Kind,
}

impl Embedding {
    /// Reads `weight [rows, width]`.
    pub fn load(weights: &Weights, rows: i64, width: i64) -> Result<Self, LoadError> {
        Ok(Self {
            name: weights.full_name(""),
            weight_vd: weights.parameter("weight", &[rows, width], Initial::Normal(DEVIATION))?,
            kind: weights.compute().kind,
        })
    }

    /// `ids [..]`, int64 on the table's device and below its number of rows, to `[.., width]` in
    /// the running dtype.
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        in_kind(&Tensor::embedding(&self.weight_vd, ids, -1, false, false), self.kind)
    }

    /// As `forward`, with the rows that the adapter trained in place of the table's.
    pub fn forward_adapted(&self, ids: &Tensor, adapter: Option<&Adapter>) -> Tensor {
        let embedded = self.forward(ids);
        match adapter.and_then(|adapter| adapter.rows.get(&self.name)) {
            None => embedded,
            Some(rows) => rows.replace_embeddings(&embedded, ids),
        }
    }

    /// Full name of the table, without `.weight`.
    pub fn name(&self) -> &str {
        &self.name
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
