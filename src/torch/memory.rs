//! Memory: how much, and how fast.

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use memmap2::{Advice, MmapMut};
use tch::Device;

use super::shim;

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Free now: by the driver's account, or for the CPU what programs can still take without
    /// swapping (Linux's `MemAvailable`).
    pub free_bytes: u64,
    /// Built in.
    pub total_bytes: u64,
}

/// What `device` has; `None` where there is no such device, or nobody says.
pub fn device_memory(device: Device) -> Option<DeviceMemory> {
    let (free_bytes, total_bytes) = match device {
        Device::Cpu => (
            proc_bytes("/proc/meminfo", "MemAvailable:")?,
            proc_bytes("/proc/meminfo", "MemTotal:")?,
        ),
        Device::Cuda(index) => shim::accelerator_memory(index)?,
        _ => return None,
    };
    Some(DeviceMemory { free_bytes, total_bytes })
}

/// The most memory that was taken, in bytes: of an accelerator what libtorch had allocated since the
/// start or the last reset, of the CPU the process's largest resident set.
pub fn peak_bytes(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(index) => shim::accelerator_peak(index),
        _ => resident_bytes_max(),
    }
}

/// Starts the peak of an accelerator anew; the CPU's stays.
pub fn reset_peak(device: Device) {
    if let Device::Cuda(index) = device {
        shim::accelerator_reset_peak(index);
    }
}

/// Lets the C library keep what tensors gave back for those to come. A forward pass frees and takes
/// megabytes at every operation; giving them back to the system each time, only to have them
/// cleared anew, costs about a tenth of the time of reading a prompt. To be called first.
pub fn keep_freed_memory() {
    shim::keep_freed_memory();
}

/// Asks the system to drop what it keeps of a file in memory, so that reading it means reading the
/// disk; whether it heard. Pages that are mapped or not yet written stay.
pub fn forget_file(file: &File) -> bool {
    shim::forget_file(file)
}

/// How fast the CPU's memory is read, in bytes a second: the best of several sweeps by libtorch's
/// threads over a buffer far beyond any cache. `None` without memory for the buffer.
#[allow(unsafe_code)]
pub fn read_bytes_per_s() -> Option<f64> {
    const BYTES: usize = 1 << 30;
    const SWEEPS: usize = 12;
    let mut buffer = MmapMut::map_anon(BYTES).ok()?;
    // Looking up small pages would slow the sweep down. Where there are no large ones, so be it.
    let _ = buffer.advise(Advice::HugePage);
    buffer.fill(1);
    // SAFETY: any bytes make a word; a mapping is aligned to pages.
    let (_, words, _) = unsafe { buffer.align_to::<u64>() };
    let seconds = (0..SWEEPS).map(|_| {
        let begun = Instant::now();
        black_box(shim::read_sweep(words));
        begun.elapsed().as_secs_f64()
    });
    Some(BYTES as f64 / seconds.fold(f64::INFINITY, f64::min))
}

/// The largest resident set that this process ever had, in bytes (Linux's `VmHWM`); `None` where
/// the system does not say.
pub fn resident_bytes_max() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_memory_and_a_device_that_is_not_there_has_none() {
        let cpu = device_memory(Device::Cpu).unwrap();
        assert!(0 < cpu.free_bytes && cpu.free_bytes < cpu.total_bytes);
        assert_eq!(device_memory(Device::Cuda(99)), None);
        assert!(peak_bytes(Device::Cpu).unwrap() < cpu.total_bytes);
    }

    #[test]
    fn a_sweep_reads_every_word() {
        for length in [0, 1, 3, 4, 17, 100_003] {
            let words: Vec<u64> = (0..length).map(|word| word * word + 1).collect();
            assert_eq!(shim::read_sweep(&words), words.iter().sum::<u64>(), "{length}");
        }
    }
}
