//! Layers that exist once. Knows no model.
//!
//! Axes in names: b batch, t position, s attended position, d width, h head, e head width.

mod adapter;
mod attention;
mod conv;
mod embedding;
mod gate;
mod linear;
mod norm;
mod rotary;

use tch::{Kind, Tensor};

pub use adapter::{Adapter, Dropout, Lora, TokenRows};
pub use attention::{
    AttentionCall, AttentionKernel, Mask, attend, attend_scaled, with_attention_recorded,
};
pub use conv::{Conv2d, ConvShape};
pub use embedding::{Embedding, timestep_embedding};
pub use gate::Gate;
pub use linear::{Bias, Linear};
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use rotary::Rotary;

/// What a training pass keeps for its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// Everything.
    #[default]
    Keep,
    /// What goes into each block alone; the block is computed again. About a third slower.
    Recompute,
}

/// `tensor` in `kind`: weights that are trained are float32 beside a model that runs in another
/// format.
fn in_kind(tensor: &Tensor, kind: Kind) -> Tensor {
    if tensor.kind() == kind { tensor.shallow_clone() } else { tensor.to_kind(kind) }
}
