// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::engine {

/// `out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]`
void rms_norm(const float* x, const float* weight, std::int64_t size, float epsilon, float* out);

/// Rotates the pairs (x[i], x[i + half]) of one head by angles given as cosines and sines, `[half]` each.
void rotate(float* x, const float* cosines, const float* sines, std::int64_t half);

/// `out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]`
void silu_multiply(const float* gate, const float* up, std::int64_t size, float* out);

/// `y[i] += x[i]`
void add(const float* x, std::int64_t size, float* y);

/// `x[i] *= factor`
void scale(float factor, std::int64_t size, float* x);

/// The running maximum and sum of a softmax over blocks.
struct SoftmaxState {
  float maximum;
  float sum;
};

/// Adds a block: replaces `scores[i]` by `exp(factor * scores[i] - maximum)`, with the maximum of all blocks so far.
/// @return the factor by which the caller multiplies sums accumulated under the old maximum
float softmax_block(float* scores, std::int64_t size, float factor, SoftmaxState& state);

}  // namespace hashevict::engine
