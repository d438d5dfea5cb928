// The matrix is far larger than the caches and every element is used once, so the product runs as
// fast as memory is read. Several rows at a time keep as many streams of reads going, which one
// row after the other, as general matrix libraries take them, does not.
#include "row_product.h"

#include <ATen/Parallel.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=haswell", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif

namespace {

constexpr int LANES = 8;
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

constexpr int ROWS = 8;

// Rows shorter than this many elements in all are not worth waking a thread for.
constexpr int64_t ELEMENTS_A_THREAD = 1 << 15;

// y[r] for `rows` rows from `weight` on. The order of the sums does not depend on `rows`.
template <int rows>
__attribute__((always_inline)) inline void dot(const float *weight, const float *x, float *y,
                                               int64_t inputs) {
  Lanes sums[rows] = {};
  int64_t i = 0;
  for (; i + LANES <= inputs; i += LANES) {
    Lanes x_lanes;
    memcpy(&x_lanes, x + i, sizeof(Lanes));
    for (int row = 0; row < rows; ++row) {
      Lanes weight_lanes;
      memcpy(&weight_lanes, weight + row * inputs + i, sizeof(Lanes));
      sums[row] += weight_lanes * x_lanes;
    }
  }
  for (int row = 0; row < rows; ++row) {
    float sum = 0;
    for (int lane = 0; lane < LANES; ++lane) sum += sums[row][lane];
    for (int64_t rest = i; rest < inputs; ++rest) sum += weight[row * inputs + rest] * x[rest];
    y[row] = sum;
  }
}

FOR_EVERY_PROCESSOR
void dot_range(const float *weight, const float *x, float *y, int64_t inputs, int64_t begin,
               int64_t end) {
  int64_t output = begin;
  for (; output + ROWS <= end; output += ROWS) {
    dot<ROWS>(weight + output * inputs, x, y + output, inputs);
  }
  for (; output < end; ++output) dot<1>(weight + output * inputs, x, y + output, inputs);
}

}  // namespace

void row_product(const float *weight, const float *x, float *y, int64_t inputs, int64_t outputs) {
  const int64_t grain = ELEMENTS_A_THREAD / (inputs + 1) + 1;
  at::parallel_for(0, outputs, grain, [&](int64_t begin, int64_t end) {
    dot_range(weight, x, y, inputs, begin, end);
  });
}
