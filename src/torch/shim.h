// What libtorch offers and tch does not bind. Every function is plain C at its boundary;
// exceptions never cross it: `error` receives a malloc'd message instead.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Loads CUDA's half of libtorch, which the linker drops. 1 if it is there.
int shutterbug_load_cuda(void);

// Keeps memory that tensors gave back for those to come, instead of returning it to the system.
void shutterbug_keep_freed_memory(void);

// The sum of `count` words, read by all of libtorch's threads as fast as memory goes.
uint64_t shutterbug_read_sweep(const uint64_t *words, size_t count);

// A tensor over foreign memory. `release(owner)` runs when its storage dies.
void *shutterbug_tensor_over(void *data, const int64_t *sizes, size_t rank, int kind, void *owner,
                             void (*release)(void *), char **error);

// at::linear; a single float32 row on the CPU at the speed of memory. `bias` may be null.
void *shutterbug_linear(const void *x, const void *weight, const void *bias, char **error);

// A CPU generator whose draws equal those of Python's torch.Generator().manual_seed(seed).
void *shutterbug_generator_new(uint64_t seed);
void shutterbug_generator_free(void *generator);
void *shutterbug_randn(void *generator, const int64_t *sizes, size_t rank, char **error);
void *shutterbug_rand(void *generator, const int64_t *sizes, size_t rank, char **error);

// Draws of 0 or 1 / keep, the latter with probability `keep`, on a device and in a dtype.
void *shutterbug_keep_mask(uint64_t seed, double keep, const int64_t *sizes, size_t rank, int kind,
                           int device, char **error);

// Memory of the accelerator with this index in bytes; 0 where there is none.
int shutterbug_accelerator_memory(int index, uint64_t *free_bytes, uint64_t *total_bytes);
// The most bytes that libtorch had allocated on it; 0 where nobody counts.
int shutterbug_accelerator_peak(int index, uint64_t *bytes);
void shutterbug_accelerator_reset_peak(int index);

// Whether operations are being recorded for derivatives, on this thread.
int shutterbug_grad_enabled(void);

// Number of the next operation that is recorded on this thread.
uint64_t shutterbug_sequence_number(void);

// Derivatives of a scalar by each of `count` tensors, zeros where it does not depend on one. 1 if
// all went well.
int shutterbug_gradients(const void *loss, const void *const *of, size_t count, void **gradients,
                         char **error);

// Computes a block again: takes over `inputs`, hands over `outputs`. 0 if it failed, with the
// reason given to shutterbug_set_message. May run on another thread.
typedef int (*shutterbug_run_body)(void *closure, void **inputs, size_t inputs_count, void **outputs,
                                   size_t outputs_count, void *message);
void shutterbug_set_message(void *message, const char *text, size_t length);

// Cuts the graph between `inputs` and `outputs`, which were computed from `given` (the inputs
// without their histories) since operation `begun`: `results` are the outputs without the block's
// activations, which `closure` brings about again in the backward pass. `closure` is taken over.
int shutterbug_recompute(const void *const *inputs, const void *const *given, size_t inputs_count,
                         const void *const *outputs, size_t outputs_count, uint64_t begun,
                         void *closure, shutterbug_run_body run, void (*release)(void *),
                         void **results, char **error);

// One step of AdamW in place on `count` tensors; counts up `steps`.
int shutterbug_fused_adamw(const void *const *parameters, const void *const *gradients,
                           const void *const *first_moments, const void *const *second_moments,
                           const void *const *steps, size_t count, double learning_rate,
                           double beta1, double beta2, double weight_decay, double epsilon,
                           char **error);

// The 2-norm of all elements of all tensors together.
int shutterbug_norm(const void *const *tensors, size_t count, double *norm, char **error);

// Multiplies all tensors in place.
int shutterbug_scale(const void *const *tensors, size_t count, double factor, char **error);

// Asks the system to drop what it keeps of an open file in memory. 1 if it heard.
int shutterbug_forget_file(int descriptor);

#ifdef __cplusplus
}
#endif
