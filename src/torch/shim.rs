//! The Rust side of `shim.h`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn shutterbug_load_cuda() -> c_int;
    fn shutterbug_keep_freed_memory();
    fn shutterbug_read_sweep(words: *const u64, count: usize) -> u64;
    fn shutterbug_tensor_over(
        data: *mut c_void,
        sizes: *const i64,
        rank: usize,
        kind: c_int,
        owner: *mut c_void,
        release: extern "C" fn(*mut c_void),
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn shutterbug_linear(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn shutterbug_generator_new(seed: u64) -> *mut c_void;
    fn shutterbug_generator_free(generator: *mut c_void);
    fn shutterbug_randn(
        generator: *mut c_void,
        sizes: *const i64,
        rank: usize,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn shutterbug_rand(
        generator: *mut c_void,
        sizes: *const i64,
        rank: usize,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn shutterbug_accelerator_memory(free: *mut u64, total: *mut u64, peak: *mut u64) -> c_int;
    fn shutterbug_accelerator_reset_peak();
    fn free(memory: *mut c_void);
}

/// Takes what a shim function returned; panics with libtorch's own message where it failed, as
/// tch's plain calls do.
fn take(tensor: *mut C_tensor, error: *mut c_char) -> Tensor {
    if tensor.is_null() {
        // SAFETY: a null tensor comes with a message that malloc made.
        let message = unsafe {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            free(error.cast());
            message
        };
        panic!("libtorch: {}", message.lines().next().unwrap_or_default());
    }
    // SAFETY: the shim returns a fresh heap tensor that nobody else frees.
    unsafe { Tensor::from_ptr(tensor) }
}

pub(super) fn load_cuda() -> bool {
    // SAFETY: dlopen of a library that libtorch ships; no arguments.
    unsafe { shutterbug_load_cuda() == 1 }
}

pub(super) fn keep_freed_memory() {
    // SAFETY: no preconditions.
    unsafe { shutterbug_keep_freed_memory() }
}

pub(super) fn read_sweep(words: &[u64]) -> u64 {
    // SAFETY: the words are there to be read.
    unsafe { shutterbug_read_sweep(words.as_ptr(), words.len()) }
}

extern "C" fn release<T>(owner: *mut c_void) {
    // SAFETY: `owner` is the pointer that `tensor_over` made from an Arc<T>.
    drop(unsafe { Arc::from_raw(owner.cast_const().cast::<T>()) });
}

/// A tensor over `bytes`, which lie inside memory that `owner` keeps alive and writable.
///
/// # Safety
/// `bytes` must hold `sizes`' product elements of `kind` and stay valid as long as `owner` lives.
pub(super) unsafe fn tensor_over<T: Send + Sync>(
    bytes: *const u8,
    sizes: &[i64],
    kind: Kind,
    owner: &Arc<T>,
) -> Tensor {
    let mut error = ptr::null_mut();
    let owner = Arc::into_raw(Arc::clone(owner));
    // SAFETY: the caller's promise; the deleter gives the Arc back exactly once.
    let tensor = unsafe {
        shutterbug_tensor_over(
            bytes.cast_mut().cast(),
            sizes.as_ptr(),
            sizes.len(),
            kind as c_int,
            owner.cast_mut().cast(),
            release::<T>,
            &raw mut error,
        )
    };
    take(tensor, error)
}

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let mut error = ptr::null_mut();
    let bias = bias.map_or(ptr::null(), Tensor::as_ptr);
    // SAFETY: three tensors that outlive the call, the last of which may be null.
    let product = unsafe { shutterbug_linear(x.as_ptr(), weight.as_ptr(), bias, &raw mut error) };
    take(product, error)
}

/// Owns an `at::Generator` on the CPU.
pub(super) struct RawGenerator(*mut c_void);

// SAFETY: at::Generator is reference-counted with atomics and guarded by its own mutex.
unsafe impl Send for RawGenerator {}

impl RawGenerator {
    pub(super) fn new(seed: u64) -> Self {
        // SAFETY: no preconditions.
        Self(unsafe { shutterbug_generator_new(seed) })
    }

    pub(super) fn randn(&mut self, sizes: &[i64]) -> Tensor {
        let mut error = ptr::null_mut();
        // SAFETY: the generator is alive; the sizes outlive the call.
        let tensor =
            unsafe { shutterbug_randn(self.0, sizes.as_ptr(), sizes.len(), &raw mut error) };
        take(tensor, error)
    }

    pub(super) fn rand(&mut self, sizes: &[i64]) -> Tensor {
        let mut error = ptr::null_mut();
        // SAFETY: as above.
        let tensor =
            unsafe { shutterbug_rand(self.0, sizes.as_ptr(), sizes.len(), &raw mut error) };
        take(tensor, error)
    }
}

impl Drop for RawGenerator {
    fn drop(&mut self) {
        // SAFETY: made by shutterbug_generator_new, freed once.
        unsafe { shutterbug_generator_free(self.0) }
    }
}

/// (free, total, peak allocated) bytes of the accelerator, if there is one.
pub(super) fn accelerator_memory() -> Option<(u64, u64, u64)> {
    let (mut free, mut total, mut peak) = (0, 0, 0);
    // SAFETY: three valid places to write to.
    let there =
        unsafe { shutterbug_accelerator_memory(&raw mut free, &raw mut total, &raw mut peak) == 1 };
    there.then_some((free, total, peak))
}

pub(super) fn accelerator_reset_peak() {
    // SAFETY: no preconditions.
    unsafe { shutterbug_accelerator_reset_peak() }
}
