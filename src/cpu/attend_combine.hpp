// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::cpu {

/// The partial result of one split: accumulators [num_queries, head_dim], maxima [num_queries], sums [num_queries]. A
/// query that sees no slot has maximum -infinity, sum 0 and accumulator 0.
struct PartialView {
  const float* data;
  int32_t num_queries;
  int32_t head_dim;

  /// Sum of exp(logit - maximum) * value, [head_dim].
  [[nodiscard]] const float* accumulator(int32_t query) const { return data + int64_t{query} * head_dim; }
  /// Largest visible logit.
  [[nodiscard]] float maximum(int32_t query) const { return data[int64_t{num_queries} * head_dim + query]; }
  /// Sum of exp(logit - maximum).
  [[nodiscard]] float sum(int32_t query) const { return data[int64_t{num_queries} * (head_dim + 1) + query]; }
};

/// Number of floats in the partial result of one split.
constexpr int64_t partial_floats(int32_t num_queries, int32_t head_dim) {
  return int64_t{num_queries} * (int64_t{head_dim} + 2);
}

/// Combines the partial results of `num_splits` splits, in order.
/// @param partials [num_splits][partial_floats(num_queries, head_dim)]
/// @param out      [num_queries, head_dim]; zeros for a query that sees no slot
/// @param lse      [num_queries] natural logarithm of the sum of exp(logit), -infinity for such a query; or nullptr
void combine_splits(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, float* out,
                    float* lse);

}  // namespace hashevict::cpu
