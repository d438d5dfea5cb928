//! Layers that exist once. Knows no model.
//!
//! Axes in names: b batch, t position, s attended position, d width, h head, e head width.

mod adapter;
mod attention;
mod conv;
mod embedding;
mod linear;
mod norm;
mod rotary;

pub use adapter::{Adapter, Lora};
pub use attention::{
    AttentionCall, AttentionKernel, Mask, attend, attend_scaled, with_attention_recorded,
};
pub use conv::{Conv2d, ConvShape};
pub use embedding::{Embedding, timestep_embedding};
pub use linear::{Bias, Linear};
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use rotary::Rotary;
