//! Layers that exist once. Knows no model.
//!
//! Axes in names: b batch, t position, s attended position, d width, h head, e head width.

mod adapter;
mod attention;
mod linear;
mod norm;

pub use adapter::{Adapter, Lora};
pub use attention::{Mask, attend};
pub use linear::{Bias, Linear};
pub use norm::{LayerNorm, RmsNorm};
