//! What libtorch needs and tch lacks: device choice, the weights reader, seeded generators and
//! memory figures. Knows no model.

mod device;
mod generator;
mod linear;
mod memory;
mod shim;
mod weights;

pub use device::{Compute, DeviceChoice, DeviceError, Precision};
pub use generator::Generator;
pub use linear::linear;
pub use memory::{
    AcceleratorMemory, accelerator_memory, available_memory_bytes, keep_freed_memory,
    read_bytes_per_s, reset_accelerator_peak, resident_bytes_max,
};
pub use weights::{Checkpoint, LoadError, Weights};
