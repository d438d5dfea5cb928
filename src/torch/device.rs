//! Which device runs the model, and in which precision.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use tch::{Cuda, Device, Kind};

use super::shim;

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA where it is there, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU; CUDA's libraries are not even loaded.
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
}

/// Floating-point format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// bfloat16 on CUDA, float32 on the CPU.
    #[default]
    Auto,
    /// IEEE single.
    Float32,
    /// bfloat16.
    Bfloat16,
}

/// Why a device can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device name.
    #[error("`{0}` is no device: use `auto`, `cpu`, `cuda` or `cuda:N`")]
    Unknown(String),
    /// Not a precision name.
    #[error("`{0}` is no precision: use `auto`, `float32` or `bfloat16`")]
    UnknownPrecision(String),
    /// CUDA was asked for and is not there.
    #[error(
        "CUDA device {index} was asked for, but this machine offers {available}; use `cpu` or `auto`"
    )]
    Missing {
        /// Index asked for.
        index: usize,
        /// Number of CUDA devices seen.
        available: usize,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(name.to_owned())),
        }
    }
}

impl FromStr for Precision {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "float32" => Ok(Self::Float32),
            "bfloat16" => Ok(Self::Bfloat16),
            _ => Err(DeviceError::UnknownPrecision(name.to_owned())),
        }
    }
}

/// Where tensors live and in which floating-point format the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// Device of every tensor of the model.
    pub device: Device,
    /// Format of weights and activations.
    pub kind: Kind,
}

impl Compute {
    /// float32 on the CPU.
    pub const CPU: Self = Self { device: Device::Cpu, kind: Kind::Float };

    /// Resolves a choice against this machine.
    pub fn choose(choice: DeviceChoice, precision: Precision) -> Result<Self, DeviceError> {
        let device = match choice {
            DeviceChoice::Auto if cuda_devices() > 0 => Device::Cuda(0),
            DeviceChoice::Cpu | DeviceChoice::Auto => Device::Cpu,
            DeviceChoice::Cuda(index) if index < cuda_devices() => Device::Cuda(index),
            DeviceChoice::Cuda(index) => {
                return Err(DeviceError::Missing { index, available: cuda_devices() });
            }
        };
        let kind = match (precision, device) {
            (Precision::Float32, _) | (Precision::Auto, Device::Cpu) => Kind::Float,
            _ => Kind::BFloat16,
        };
        Ok(Self { device, kind })
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Float { "float32" } else { "bfloat16" };
        match self.device {
            Device::Cuda(index) => write!(f, "CUDA device {index} in {kind}"),
            _ => write!(f, "the CPU in {kind} on {} threads", tch::get_num_threads()),
        }
    }
}

/// Number of CUDA devices. CUDA's half of libtorch is loaded before the first query, because a
/// query without it leaves CUDA off for good.
pub fn cuda_devices() -> usize {
    static DEVICES: OnceLock<usize> = OnceLock::new();
    *DEVICES.get_or_init(|| {
        if shim::load_cuda() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_and_nonsense_is_refused() {
        assert_eq!("cuda:3".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(3));
        assert_eq!("auto".parse::<DeviceChoice>().unwrap(), DeviceChoice::Auto);
        let error = "gpu".parse::<DeviceChoice>().unwrap_err();
        assert_eq!(error.to_string(), "`gpu` is no device: use `auto`, `cpu`, `cuda` or `cuda:N`");
    }

    #[test]
    fn the_cpu_runs_float32_unless_told_otherwise() {
        let auto = Compute::choose(DeviceChoice::Cpu, Precision::Auto).unwrap();
        assert_eq!(auto, Compute::CPU);
        let half = Compute::choose(DeviceChoice::Cpu, Precision::Bfloat16).unwrap();
        assert_eq!(half.kind, Kind::BFloat16);
    }

    #[test]
    fn a_missing_cuda_device_is_named() {
        let error = Compute::choose(DeviceChoice::Cuda(99), Precision::Auto).unwrap_err();
        assert!(error.to_string().starts_with("CUDA device 99 was asked for"), "{error}");
    }
}
