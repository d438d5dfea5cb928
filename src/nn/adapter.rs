//! What a call adds to the base weights: low-rank updates and trained token rows, kept apart from
//! the weights that they adapt.
//!
//! Axes in names: r rank, k trained token, d width.

use std::collections::{BTreeMap, HashMap};

use tch::{Device, Kind, Tensor};

use crate::torch::{Generator, Parameters, derived_seed, dropout_mask, linear};

/// One low-rank update of one linear layer: ΔW = scale · B·A (Hu et al., 2021).
pub struct Lora {
    /// `[rank, in]`.
    pub a: Tensor,
    /// `[out, rank]`.
    pub b: Tensor,
    /// α / rank.
    pub scale: f64,
}

impl Lora {
    /// An update that changes nothing yet: A Kaiming uniform from `seed`, B zeros, as PEFT begins.
    /// float32 leaves that require gradients.
    pub fn fresh(
        [outputs, inputs]: [i64; 2],
        rank: i64,
        alpha: f64,
        seed: u64,
        device: Device,
    ) -> Self {
        let a = Generator::new(seed).fan_in(&[rank, inputs]);
        let b = Tensor::zeros([outputs, rank], tch::kind::FLOAT_CPU);
        Self { a: leaf(&a, device), b: leaf(&b, device), scale: alpha / rank as f64 }
    }

    /// scale · x Aᵀ Bᵀ: `x [.., in]` to `[.., out]` in x's dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        linear(&linear(x, &self.a, None), &self.b, None) * self.scale
    }
}

impl Clone for Lora {
    /// Shares the tensors.
    fn clone(&self) -> Self {
        Self { a: self.a.shallow_clone(), b: self.b.shallow_clone(), scale: self.scale }
    }
}

/// Rows of a token table that stand in for the base's.
pub struct TokenRows {
    /// Their token ids, each once.
    pub ids: Vec<i64>,
    /// `[k, d]`: the rows themselves, not what they differ by.
    pub rows_kd: Tensor,
}

impl TokenRows {
    /// Embeddings `[.., d]` of `ids [..]` with these rows in place of the base's.
    pub(super) fn replace_embeddings(&self, embedded: &Tensor, ids: &Tensor) -> Tensor {
        let own_k = Tensor::from_slice(&self.ids).to_device(ids.device());
        let chosen = ids.unsqueeze(-1).eq_tensor(&own_k);
        let rows_kd = self.rows_kd.to_kind(embedded.kind());
        let own = chosen.to_kind(embedded.kind()).matmul(&rows_kd);
        let any = chosen.any_dim(-1, true);
        own.where_self(&any, embedded)
    }

    /// Logits `[.., v]` of `x [.., d]` with these rows in place of the base's.
    pub(super) fn replace_logits(&self, logits: &Tensor, x: &Tensor) -> Tensor {
        let own_k = Tensor::from_slice(&self.ids).to_device(x.device());
        logits.index_copy(-1, &own_k, &linear(x, &self.rows_kd, None))
    }
}

impl Clone for TokenRows {
    /// Shares the rows.
    fn clone(&self) -> Self {
        Self { ids: self.ids.clone(), rows_kd: self.rows_kd.shallow_clone() }
    }
}

/// Dropout on what goes into the low-rank updates, in training alone. A layer's mask depends on
/// the seed and the layer's name, not on what was drawn before, so that a block can be computed
/// again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the inputs that are dropped, 0 to 1.
    pub probability: f64,
    /// A seed for each forward pass.
    pub seed: u64,
}

impl Dropout {
    fn apply(self, x: &Tensor, layer: &str) -> Tensor {
        let seed = derived_seed(self.seed, layer);
        x * dropout_mask(seed, 1.0 - self.probability, &x.size(), (x.kind(), x.device()))
    }
}

/// The updates of one model part, by the full parameter name of the layer or table they adapt.
///
/// Several adapters can be resident over the same base weights; every forward pass is told which
/// one counts. Base weights never change and adapters are never merged into them. Clones share
/// their tensors.
#[derive(Default, Clone)]
pub struct Adapter {
    /// Layer name, as in the checkpoint and without `.weight`, to its update.
    pub layers: HashMap<String, Lora>,
    /// Name of a token table to its trained rows.
    pub rows: HashMap<String, TokenRows>,
    /// `None` outside of training.
    pub dropout: Option<Dropout>,
}

impl Adapter {
    /// Low-rank updates alone.
    pub fn of_layers(layers: HashMap<String, Lora>) -> Self {
        Self { layers, ..Self::default() }
    }

    /// Updates that change nothing yet of `layers` (name and shape `[out, in]`): see
    /// `Lora::fresh`. Each begins by its own name and `seed`.
    pub fn fresh<'a>(
        layers: impl IntoIterator<Item = (&'a str, [i64; 2])>,
        rank: i64,
        alpha: f64,
        seed: u64,
        device: Device,
    ) -> Self {
        let lora = |(name, shape): (&str, [i64; 2])| {
            let seed = derived_seed(seed, name);
            (name.to_owned(), Lora::fresh(shape, rank, alpha, seed, device))
        };
        Self::of_layers(layers.into_iter().map(lora).collect())
    }

    /// The update of the layer called `name`, if this adapter has one.
    pub fn layer(&self, name: &str) -> Option<&Lora> {
        self.layers.get(name)
    }

    /// The same adapter with dropout on the inputs of its updates: for one forward pass of
    /// training.
    #[must_use]
    pub fn with_dropout(&self, dropout: Dropout) -> Self {
        Self { dropout: Some(dropout), ..self.clone() }
    }

    /// The same adapter with tensors of its own, float32 leaves that require gradients: to go on
    /// training one that was read.
    #[must_use]
    pub fn trainable(&self) -> Self {
        let own = |tensor: &Tensor| leaf(tensor, tensor.device());
        let lora = |lora: &Lora| Lora { a: own(&lora.a), b: own(&lora.b), scale: lora.scale };
        let rows =
            |rows: &TokenRows| TokenRows { ids: rows.ids.clone(), rows_kd: own(&rows.rows_kd) };
        let layers = self.layers.iter().map(|(name, it)| (name.clone(), lora(it))).collect();
        let rows = self.rows.iter().map(|(name, it)| (name.clone(), rows(it))).collect();
        Self { layers, rows, dropout: None }
    }

    /// Its tensors by name: `….lora_A.weight`, `….lora_B.weight` and `….token_rows` below the
    /// names of what they adapt.
    pub fn parameters(&self) -> Parameters {
        let mut parameters = BTreeMap::new();
        for (name, Lora { a, b, .. }) in &self.layers {
            parameters.insert(format!("{name}.lora_A.weight"), a.shallow_clone());
            parameters.insert(format!("{name}.lora_B.weight"), b.shallow_clone());
        }
        for (name, rows) in &self.rows {
            parameters.insert(format!("{name}.token_rows"), rows.rows_kd.shallow_clone());
        }
        parameters
    }

    /// The same adapter over the tensors that `parameters` names as `Adapter::parameters` does;
    /// `None` if one is not there.
    pub fn over(&self, parameters: &Parameters) -> Option<Self> {
        let find = |name: String| parameters.get(&name).map(Tensor::shallow_clone);
        let layers = self.layers.iter().map(|(name, lora)| {
            let a = find(format!("{name}.lora_A.weight"))?;
            let b = find(format!("{name}.lora_B.weight"))?;
            Some((name.clone(), Lora { a, b, scale: lora.scale }))
        });
        let rows = self.rows.iter().map(|(name, rows)| {
            let rows_kd = find(format!("{name}.token_rows"))?;
            Some((name.clone(), TokenRows { ids: rows.ids.clone(), rows_kd }))
        });
        let (layers, rows) = (layers.collect::<Option<_>>()?, rows.collect::<Option<_>>()?);
        Some(Self { layers, rows, dropout: self.dropout })
    }

    /// What the layer called `name` makes of `x`, given what its base weights made of it.
    pub(super) fn adapt(&self, name: &str, x: &Tensor, base: Tensor) -> Tensor {
        let updated = match (self.layer(name), self.dropout) {
            (None, _) => base,
            (Some(lora), None) => base + lora.forward(x),
            (Some(lora), Some(dropout)) => base + lora.forward(&dropout.apply(x, name)),
        };
        match self.rows.get(name) {
            None => updated,
            Some(rows) => rows.replace_logits(&updated, x),
        }
    }
}

fn leaf(tensor: &Tensor, device: Device) -> Tensor {
    let own = tensor.detach().to_device(device).to_kind(Kind::Float).copy();
    own.set_requires_grad(true)
}
