//! Memory: how much, and how fast.

use std::hint::black_box;
use std::time::Instant;

use memmap2::{Advice, MmapMut};

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

/// Lets the C library keep what tensors gave back for those to come. A forward pass frees and takes
/// megabytes at every operation; giving them back to the system each time, only to have them
/// cleared anew, costs about a tenth of the time of reading a prompt. To be called first.
pub fn keep_freed_memory() {
    shim::keep_freed_memory();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_reads_every_word() {
        for length in [0, 1, 3, 4, 17, 100_003] {
            let words: Vec<u64> = (0..length).map(|word| word * word + 1).collect();
            assert_eq!(shim::read_sweep(&words), words.iter().sum::<u64>(), "{length}");
        }
    }
}
