// The matrix is far larger than the caches and every element is used once, so the product runs as
// fast as memory is read. Four rows at a time, some way apart, keep as many long streams of reads
// going in every thread, which one row after the other, as matrix libraries take them, does not.
#include "for_every_processor.h"
#include "row_product.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>

namespace {

// Threads take pieces of this size until none is left: one that the machine slows down takes fewer,
// and nobody waits for it. With fewer elements than this a second thread is not worth waking.
constexpr int64_t ELEMENTS_A_PIECE = 1 << 17;

// y[0], y[stride], y[2·stride] and y[3·stride] from the rows of these numbers.
FOR_EVERY_PROCESSOR
void four_rows(const float *weight, const float *x, float *y, int64_t inputs, int64_t stride) {
  const float *w0 = weight, *w1 = w0 + stride * inputs, *w2 = w1 + stride * inputs,
              *w3 = w2 + stride * inputs;
  float y0 = 0, y1 = 0, y2 = 0, y3 = 0;
#pragma omp simd reduction(+ : y0, y1, y2, y3)
  for (int64_t i = 0; i < inputs; ++i) {
    y0 += w0[i] * x[i];
    y1 += w1[i] * x[i];
    y2 += w2[i] * x[i];
    y3 += w3[i] * x[i];
  }
  y[0] = y0, y[stride] = y1, y[2 * stride] = y2, y[3 * stride] = y3;
}

FOR_EVERY_PROCESSOR
float one_row(const float *weight, const float *x, int64_t inputs) {
  float y = 0;
#pragma omp simd reduction(+ : y)
  for (int64_t i = 0; i < inputs; ++i) {
    y += weight[i] * x[i];
  }
  return y;
}

// y[begin..end].
void rows(const float *weight, const float *x, float *y, int64_t inputs, int64_t begin,
          int64_t end) {
  const int64_t stride = (end - begin) / 4;
  for (int64_t output = begin; output < begin + stride; ++output) {
    four_rows(weight + output * inputs, x, y + output, inputs, stride);
  }
  for (int64_t output = begin + 4 * stride; output < end; ++output) {
    y[output] = one_row(weight + output * inputs, x, inputs);
  }
}

}  // namespace

void row_product(const float *weight, const float *x, float *y, int64_t inputs, int64_t outputs) {
  const int64_t rows_a_piece = std::max<int64_t>(4, ELEMENTS_A_PIECE / (inputs + 1) / 4 * 4);
  const int64_t pieces = (outputs + rows_a_piece - 1) / rows_a_piece;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), pieces);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t piece; (piece = next.fetch_add(1)) < pieces;) {
      const int64_t begin = piece * rows_a_piece;
      rows(weight, x, y, inputs, begin, std::min(begin + rows_a_piece, outputs));
    }
  });
}
