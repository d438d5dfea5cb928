#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>
#include <dlfcn.h>
#include <string.h>

namespace {

template <typename F>
void *guarded(char **error, F body) {
  try {
    return new at::Tensor(body());
  } catch (const std::exception &e) {
    *error = strdup(e.what());
  } catch (...) {
    *error = strdup("an unknown C++ exception");
  }
  return nullptr;
}

at::Generator &as_generator(void *generator) { return *static_cast<at::Generator *>(generator); }

}  // namespace

int shutterbug_load_cuda(void) {
  return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
}

void *shutterbug_tensor_over(void *data, const int64_t *sizes, size_t rank, int kind, void *owner,
                             void (*release)(void *), char **error) {
  return guarded(error, [&] {
    return at::for_blob(data, at::IntArrayRef(sizes, rank))
        .options(at::TensorOptions().dtype(static_cast<at::ScalarType>(kind)))
        .deleter([owner, release](void *) { release(owner); })
        .make_tensor();
  });
}

void *shutterbug_generator_new(uint64_t seed) {
  return new at::Generator(at::detail::createCPUGenerator(seed));
}

void shutterbug_generator_free(void *generator) { delete static_cast<at::Generator *>(generator); }

void *shutterbug_randn(void *generator, const int64_t *sizes, size_t rank, char **error) {
  return guarded(error, [&] {
    return at::randn(at::IntArrayRef(sizes, rank), as_generator(generator), at::kFloat);
  });
}

void *shutterbug_rand(void *generator, const int64_t *sizes, size_t rank, char **error) {
  return guarded(error, [&] {
    return at::rand(at::IntArrayRef(sizes, rank), as_generator(generator), at::kFloat);
  });
}

int shutterbug_accelerator_memory(uint64_t *free_bytes, uint64_t *total_bytes,
                                  uint64_t *peak_bytes) {
  try {
    if (!at::accelerator::getAccelerator().has_value() || at::accelerator::deviceCount() == 0) {
      return 0;
    }
    const auto device = at::accelerator::getDeviceIndex();
    const auto memory = at::accelerator::getMemoryInfo(device);
    *free_bytes = memory.first;
    *total_bytes = memory.second;
    *peak_bytes = static_cast<uint64_t>(
        at::accelerator::getDeviceStats(device).allocated_bytes[0].peak);
    return 1;
  } catch (...) {
    return 0;
  }
}

void shutterbug_accelerator_reset_peak(void) {
  try {
    at::accelerator::resetPeakStats(at::accelerator::getDeviceIndex());
  } catch (...) {
    // Without an accelerator there is no peak to forget.
  }
}
