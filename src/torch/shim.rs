//! The Rust side of `shim.h`.
#![allow(unsafe_code)]

use std::any::Any;
use std::borrow::Borrow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::mem;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::panic::SHIM;

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
    fn shutterbug_keep_mask(
        seed: u64,
        keep: f64,
        sizes: *const i64,
        rank: usize,
        kind: c_int,
        device: c_int,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn shutterbug_grad_enabled() -> c_int;
    fn shutterbug_sequence_number() -> u64;
    fn shutterbug_gradients(
        loss: *const C_tensor,
        of: *const *const C_tensor,
        count: usize,
        gradients: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    fn shutterbug_set_message(message: *mut c_void, text: *const c_char, length: usize);
    fn shutterbug_recompute(
        inputs: *const *const C_tensor,
        given: *const *const C_tensor,
        inputs_count: usize,
        outputs: *const *const C_tensor,
        outputs_count: usize,
        begun: u64,
        closure: *mut c_void,
        run: RunBody,
        release: extern "C" fn(*mut c_void),
        results: *mut *mut C_tensor,
        error: *mut *mut c_char,
    ) -> c_int;
    fn shutterbug_fused_adamw(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        first_moments: *const *const C_tensor,
        second_moments: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        error: *mut *mut c_char,
    ) -> c_int;
    fn shutterbug_norm(
        tensors: *const *const C_tensor,
        count: usize,
        norm: *mut f64,
        error: *mut *mut c_char,
    ) -> c_int;
    fn shutterbug_scale(
        tensors: *const *const C_tensor,
        count: usize,
        factor: f64,
        error: *mut *mut c_char,
    ) -> c_int;
    fn shutterbug_forget_file(descriptor: c_int) -> c_int;
    fn shutterbug_accelerator_memory(index: c_int, free: *mut u64, total: *mut u64) -> c_int;
    fn shutterbug_accelerator_peak(index: c_int, bytes: *mut u64) -> c_int;
    fn shutterbug_accelerator_reset_peak(index: c_int);
    fn free(memory: *mut c_void);
}

/// Panics with libtorch's own message, as tch's plain calls do.
fn fail(error: *mut c_char) -> ! {
    // SAFETY: a failure comes with a message that malloc made.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        free(error.cast());
        message
    };
    panic!("{SHIM}{}", message.lines().next().unwrap_or_default());
}

/// Takes the tensor that a shim function returned.
fn take(tensor: *mut C_tensor, error: *mut c_char) -> Tensor {
    if tensor.is_null() {
        fail(error);
    }
    // SAFETY: the shim returns a fresh heap tensor that nobody else frees.
    unsafe { Tensor::from_ptr(tensor) }
}

fn check(fine: c_int, error: *mut c_char) {
    if fine == 0 {
        fail(error);
    }
}

fn pointers(tensors: &[impl Borrow<Tensor>]) -> Vec<*const C_tensor> {
    tensors.iter().map(|tensor| tensor.borrow().as_ptr()).collect()
}

/// Tensors that the shim made and that are now ours.
fn take_all(tensors: &[*mut C_tensor]) -> Vec<Tensor> {
    // SAFETY: each is a fresh heap tensor that nobody else frees.
    tensors.iter().map(|&tensor| unsafe { Tensor::from_ptr(tensor) }).collect()
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

/// Draws of 0 or 1 / `keep`.
pub(super) fn keep_mask(
    seed: u64,
    keep: f64,
    sizes: &[i64],
    (kind, device): (Kind, Device),
) -> Tensor {
    let index = match device {
        Device::Cuda(index) => index as c_int,
        _ => -1,
    };
    let (kind, mut error) = (kind as c_int, ptr::null_mut());
    // SAFETY: the sizes outlive the call.
    let mask = unsafe {
        let (sizes, rank) = (sizes.as_ptr(), sizes.len());
        shutterbug_keep_mask(seed, keep, sizes, rank, kind, index, &raw mut error)
    };
    take(mask, error)
}

pub(super) fn grad_enabled() -> bool {
    // SAFETY: no preconditions.
    unsafe { shutterbug_grad_enabled() == 1 }
}

pub(super) fn sequence_number() -> u64 {
    // SAFETY: no preconditions.
    unsafe { shutterbug_sequence_number() }
}

pub(super) fn gradients(loss: &Tensor, of: &[impl Borrow<Tensor>]) -> Vec<Option<Tensor>> {
    let mut error = ptr::null_mut();
    let mut gradients = vec![ptr::null_mut(); of.len()];
    // SAFETY: the tensors outlive the call; there is room for as many results.
    let fine = unsafe {
        let of = pointers(of);
        let results = gradients.as_mut_ptr();
        shutterbug_gradients(loss.as_ptr(), of.as_ptr(), of.len(), results, &raw mut error)
    };
    check(fine, error);
    let made = gradients.into_iter().map(|gradient| (!gradient.is_null()).then_some(gradient));
    // SAFETY: each is a fresh heap tensor that nobody else frees.
    made.map(|gradient| gradient.map(|gradient| unsafe { Tensor::from_ptr(gradient) })).collect()
}

/// A block of operations that can be run again, on whichever thread differentiates it.
pub(super) type Block = Box<dyn Fn(&[Tensor]) -> Vec<Tensor> + Send>;

type RunBody = extern "C" fn(
    *mut c_void,
    *mut *mut C_tensor,
    usize,
    *mut *mut C_tensor,
    usize,
    *mut c_void,
) -> c_int;

/// Runs a block for the shim. A panic stops here and becomes the shim's message.
extern "C" fn run_block(
    closure: *mut c_void,
    inputs: *mut *mut C_tensor,
    inputs_count: usize,
    outputs: *mut *mut C_tensor,
    outputs_count: usize,
    message: *mut c_void,
) -> c_int {
    // SAFETY: `closure` is what `recompute` boxed; the inputs are handed over; there is room for
    // the outputs.
    let (block, inputs, outputs) = unsafe {
        (
            &*closure.cast_const().cast::<Block>(),
            take_all(std::slice::from_raw_parts(inputs, inputs_count)),
            std::slice::from_raw_parts_mut(outputs, outputs_count),
        )
    };
    let failure = match catch_unwind(AssertUnwindSafe(|| block(&inputs))) {
        Ok(made) if made.len() == outputs.len() => {
            for (place, tensor) in outputs.iter_mut().zip(made) {
                *place = tensor.as_ptr().cast_mut();
                // Its owner is now the shim.
                mem::forget(tensor);
            }
            return 1;
        }
        Ok(made) => format!("it made {} tensors after {outputs_count}", made.len()),
        Err(panic) => panic_message(panic.as_ref()),
    };
    // SAFETY: the message is the shim's own string; the text outlives the call.
    unsafe { shutterbug_set_message(message, failure.as_ptr().cast(), failure.len()) };
    0
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}

extern "C" fn release_block(closure: *mut c_void) {
    // SAFETY: `closure` is what `recompute` boxed, given back once.
    drop(unsafe { Box::from_raw(closure.cast::<Block>()) });
}

/// See `shutterbug_recompute`.
pub(super) fn recompute(
    inputs: &[Tensor],
    given: &[Tensor],
    outputs: &[Tensor],
    begun: u64,
    block: Block,
) -> Vec<Tensor> {
    let mut error = ptr::null_mut();
    let mut results = vec![ptr::null_mut(); outputs.len()];
    let closure = Box::into_raw(Box::new(block)).cast();
    // SAFETY: the tensors outlive the call; there is room for as many results as outputs; the
    // closure is given up.
    let fine = unsafe {
        let (inputs, given, outputs) = (pointers(inputs), pointers(given), pointers(outputs));
        shutterbug_recompute(
            inputs.as_ptr(),
            given.as_ptr(),
            inputs.len(),
            outputs.as_ptr(),
            outputs.len(),
            begun,
            closure,
            run_block,
            release_block,
            results.as_mut_ptr(),
            &raw mut error,
        )
    };
    check(fine, error);
    take_all(&results)
}

/// Learning rate, both decays of the moments, weight decay and epsilon.
pub(super) struct AdamWFactors {
    pub(super) learning_rate: f64,
    pub(super) betas: [f64; 2],
    pub(super) weight_decay: f64,
    pub(super) epsilon: f64,
}

/// One step on lists of equal length: parameters, gradients, first moments, second moments, steps.
pub(super) fn fused_adamw(lists: &[Vec<&Tensor>; 5], factors: &AdamWFactors) {
    let mut error = ptr::null_mut();
    let [parameters, gradients, first, second, steps] = lists.each_ref().map(|list| pointers(list));
    // SAFETY: five lists of as many tensors, which the caller made together, and which outlive the
    // call.
    let fine = unsafe {
        shutterbug_fused_adamw(
            parameters.as_ptr(),
            gradients.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            steps.as_ptr(),
            parameters.len(),
            factors.learning_rate,
            factors.betas[0],
            factors.betas[1],
            factors.weight_decay,
            factors.epsilon,
            &raw mut error,
        )
    };
    check(fine, error);
}

pub(super) fn norm(tensors: &[impl Borrow<Tensor>]) -> f64 {
    let (mut norm, mut error) = (0.0, ptr::null_mut());
    let tensors = pointers(tensors);
    // SAFETY: the tensors outlive the call.
    let fine =
        unsafe { shutterbug_norm(tensors.as_ptr(), tensors.len(), &raw mut norm, &raw mut error) };
    check(fine, error);
    norm
}

pub(super) fn scale(tensors: &[impl Borrow<Tensor>], factor: f64) {
    let mut error = ptr::null_mut();
    let tensors = pointers(tensors);
    // SAFETY: the tensors outlive the call.
    let fine = unsafe { shutterbug_scale(tensors.as_ptr(), tensors.len(), factor, &raw mut error) };
    check(fine, error);
}

pub(super) fn forget_file(file: &File) -> bool {
    // SAFETY: the file is open during the call.
    unsafe { shutterbug_forget_file(file.as_raw_fd()) == 1 }
}

/// (free, total) bytes of the accelerator with this index, if there is one.
pub(super) fn accelerator_memory(index: usize) -> Option<(u64, u64)> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: two valid places to write to.
    let there = unsafe {
        shutterbug_accelerator_memory(index as c_int, &raw mut free, &raw mut total) == 1
    };
    there.then_some((free, total))
}

/// The most bytes that libtorch had allocated on the accelerator with this index.
pub(super) fn accelerator_peak(index: usize) -> Option<u64> {
    let mut bytes = 0;
    // SAFETY: a valid place to write to.
    let there = unsafe { shutterbug_accelerator_peak(index as c_int, &raw mut bytes) == 1 };
    there.then_some(bytes)
}

pub(super) fn accelerator_reset_peak(index: usize) {
    // SAFETY: no preconditions.
    unsafe { shutterbug_accelerator_reset_peak(index as c_int) }
}
