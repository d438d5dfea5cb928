#include "shim.h"
#include "row_product.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
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

// Whether a product is that of one float32 row on the CPU, and needs no derivative.
bool is_plain_row(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  const auto plain = [](const at::Tensor &t) {
    return t.scalar_type() == at::kFloat && t.device().is_cpu() && t.layout() == at::kStrided &&
           t.is_contiguous() && !(c10::GradMode::is_enabled() && t.requires_grad());
  };
  return plain(x) && plain(weight) && weight.dim() == 2 && x.dim() > 0 && x.numel() > 0 &&
         x.size(-1) == weight.size(1) && x.numel() == weight.size(1) &&
         (!bias.defined() || (plain(bias) && bias.dim() == 1 && bias.size(0) == weight.size(0)));
}

at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  if (!is_plain_row(x, weight, bias)) {
    // Weights that are trained are float32 beside a model that runs in another format.
    const auto cast = [&](const at::Tensor &t) { return t.defined() ? t.to(x.scalar_type()) : t; };
    return at::linear(x, cast(weight), cast(bias));
  }
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  auto y = at::empty(sizes, x.options());
  row_product(weight.const_data_ptr<float>(), x.const_data_ptr<float>(),
              y.mutable_data_ptr<float>(), weight.size(1), weight.size(0));
  return bias.defined() ? y.add_(bias) : y;
}

const at::Tensor &as_tensor(const void *tensor) { return *static_cast<const at::Tensor *>(tensor); }

at::Generator &as_generator(void *generator) { return *static_cast<at::Generator *>(generator); }

}  // namespace

int shutterbug_load_cuda(void) {
  return dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
}

void shutterbug_keep_freed_memory(void) {
#ifdef __GLIBC__
  // The most that glibc accepts for either.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
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

void *shutterbug_linear(const void *x, const void *weight, const void *bias, char **error) {
  return guarded(error, [&] {
    return linear(as_tensor(x), as_tensor(weight), bias ? as_tensor(bias) : at::Tensor());
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

void *shutterbug_keep_mask(uint64_t seed, double keep, const int64_t *sizes, size_t rank, int kind,
                           int device, char **error) {
  return guarded(error, [&] {
    // A negative index is the CPU, as in tch.
    const auto place = device < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, device);
    auto generator = device < 0 ? at::detail::createCPUGenerator(seed)
                                : at::globalContext()
                                      .getAcceleratorHooksInterface(at::kCUDA)
                                      .getNewGenerator(place.index());
    generator.set_current_seed(seed);
    const auto options =
        at::TensorOptions().dtype(static_cast<at::ScalarType>(kind)).device(place);
    return at::empty(at::IntArrayRef(sizes, rank), options)
        .bernoulli_(keep, generator)
        .div_(keep);
  });
}

int shutterbug_forget_file(int descriptor) {
  return posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0;
}

int shutterbug_accelerator_memory(int index, uint64_t *free_bytes, uint64_t *total_bytes) {
  try {
    if (!at::accelerator::getAccelerator().has_value() || index < 0 ||
        index >= at::accelerator::deviceCount()) {
      return 0;
    }
    const auto memory = at::accelerator::getMemoryInfo(static_cast<c10::DeviceIndex>(index));
    *free_bytes = memory.first;
    *total_bytes = memory.second;
    return 1;
  } catch (...) {
    return 0;
  }
}

int shutterbug_accelerator_peak(int index, uint64_t *bytes) {
  try {
    const auto stats = at::accelerator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *bytes = static_cast<uint64_t>(stats.allocated_bytes[0].peak);
    return 1;
  } catch (...) {
    // Without an accelerator, or before anything was allocated on it.
    return 0;
  }
}

void shutterbug_accelerator_reset_peak(int index) {
  try {
    at::accelerator::resetPeakStats(static_cast<c10::DeviceIndex>(index));
  } catch (...) {
    // Without an accelerator there is no peak to forget.
  }
}
