//! Memory figures.

use super::shim;

/// Memory of the accelerator in use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceleratorMemory {
    /// Free now, by the driver's account.
    pub free_bytes: u64,
    /// Built in.
    pub total_bytes: u64,
    /// The most that libtorch had allocated since the start or the last reset.
    pub peak_bytes: u64,
}

/// What the current accelerator has; `None` where there is none.
pub fn accelerator_memory() -> Option<AcceleratorMemory> {
    shim::accelerator_memory().map(|(free_bytes, total_bytes, peak_bytes)| AcceleratorMemory {
        free_bytes,
        total_bytes,
        peak_bytes,
    })
}

/// Starts the peak anew.
pub fn reset_accelerator_peak() {
    shim::accelerator_reset_peak();
}

/// The largest resident set that this process ever had, in bytes (Linux's `VmHWM`); `None` where
/// the system does not say.
pub fn resident_bytes_max() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// Memory that programs can still take without swapping, in bytes (Linux's `MemAvailable`); `None`
/// where the system does not say.
pub fn available_memory_bytes() -> Option<u64> {
    proc_bytes("/proc/meminfo", "MemAvailable:")
}

fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
