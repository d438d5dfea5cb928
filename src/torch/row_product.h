// The product that decoding waits for: one row with a matrix.
#pragma once

#include <stdint.h>

// y[o] = sum over i of weight[o, i] · x[i], for a row-major float32 weight [outputs, inputs], on
// libtorch's threads. The same bits whatever their number.
void row_product(const float *weight, const float *x, float *y, int64_t inputs, int64_t outputs);
