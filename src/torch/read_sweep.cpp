// Reads memory as fast as it goes, to know how fast that is.
#include "for_every_processor.h"
#include "shim.h"

#include <ATen/Parallel.h>
#include <atomic>

namespace {

// The sum of 4 · `count` words, read as four streams: one alone does not fill the memory's pipes.
FOR_EVERY_PROCESSOR
uint64_t sum_of_streams(const uint64_t *words, int64_t count) {
  const uint64_t *w0 = words, *w1 = w0 + count, *w2 = w1 + count, *w3 = w2 + count;
  uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t i = 0; i < count; ++i) {
    s0 += w0[i];
    s1 += w1[i];
    s2 += w2[i];
    s3 += w3[i];
  }
  return s0 + s1 + s2 + s3;
}

}  // namespace

uint64_t shutterbug_read_sweep(const uint64_t *words, size_t count) {
  std::atomic<uint64_t> sum{0};
  const int64_t fours = static_cast<int64_t>(count) / 4;
  at::parallel_for(0, fours, 1 << 12, [&](int64_t begin, int64_t end) {
    sum += sum_of_streams(words + 4 * begin, end - begin);
  });
  for (size_t rest = 4 * fours; rest < count; ++rest) sum += words[rest];
  return sum;
}
