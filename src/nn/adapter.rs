//! Low-rank adapters, kept apart from the base weights that they adapt.

use std::collections::HashMap;

use tch::Tensor;

/// One low-rank update of one linear layer: ΔW = scale · B·A (Hu et al., 2021).
pub struct Lora {
    /// `[rank, in]`.
    pub a: Tensor,
    /// `[out, rank]`.
    pub b: Tensor,
    /// α / rank.
    pub scale: f64,
}

/// The low-rank updates of one model part, by the full parameter name of the layer they adapt.
///
/// Several adapters can be resident over the same base weights; every forward pass is told which
/// one counts. Base weights never change and adapters are never merged into them.
#[derive(Default)]
pub struct Adapter {
    /// Layer name, as in the checkpoint and without `.weight`, to its update.
    pub layers: HashMap<String, Lora>,
}

impl Adapter {
    /// The update of the layer called `name`, if this adapter has one.
    pub fn layer(&self, name: &str) -> Option<&Lora> {
        self.layers.get(name)
    }
}
