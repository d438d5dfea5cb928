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

// Memory of the current accelerator in bytes; 0 where there is none.
int shutterbug_accelerator_memory(uint64_t *free_bytes, uint64_t *total_bytes, uint64_t *peak_bytes);
void shutterbug_accelerator_reset_peak(void);

#ifdef __cplusplus
}
#endif
