//! What libtorch needs and tch lacks: device choice, the reader and the writer of weights, seeded
//! generators, derivatives and recomputation, fused AdamW, and memory figures. Knows no model.

mod adamw;
mod autograd;
mod device;
mod generator;
mod initial;
mod linear;
mod load_error;
mod memory;
mod panic;
mod save;
mod shim;
mod weights;

pub use adamw::{AdamW, FusedAdamW};
pub use autograd::{gradient_norm, gradients, recompute, scale_in_place};
pub use device::{Compute, DeviceChoice, DeviceError, Precision, cuda_devices};
pub use generator::{Generator, derived_seed, dropout_mask};
pub use initial::Initial;
pub use linear::linear;
pub use load_error::LoadError;
pub use memory::{
    DeviceMemory, device_memory, forget_file, keep_freed_memory, peak_bytes, read_bytes_per_s,
    reset_peak, resident_bytes_max,
};
pub use panic::libtorch_message;
pub use save::{SaveError, SaveKind, write_safetensors};
pub use weights::{Checkpoint, Parameters, Weights};
