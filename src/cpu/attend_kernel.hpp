// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "core/kv_layout.hpp"

/// \file
/// Attention of the queries of one (row, KV head) over its slots, in splits: attend_split() leaves an unnormalised
/// partial result per split, combine_splits() adds them up. One pass over keys and values, online softmax.
///
/// **What the result depends on.** For a given query, only on the query, the visible slots of each split in slot order,
/// scale and soft cap: not on the other queries of the call, the layout (strided or paged), alignment, thread, or what
/// masked slots hold. So a call with several query tokens gives bit for bit what one call per token would, and masked
/// slots behind the last visible one (whole splits included) give bit for bit the result of a cache that ends there.
/// Slots masked between visible ones contribute nothing either, but removing them would regroup the sums: equal up to
/// rounding, not in every bit. Instruction sets differ in the last bits too (vector width, fused multiply-add).
///
/// **Error.** With u = 2^-24, w the exact weights and d = head_dim, against exact arithmetic on the same inputs:
///   |out - exact| <= (8 u + 4 e) * sum_j w_j |v_j|  for sums of independent roundings (what the tests hold it to),
///   e = u * (d / 4 + 4) * max_j softmax_scale * sum_i |q_i k_ji| + u * max_j |logit_j - max|  bounds what the fp32
///   logits are off by.
/// e is first order: a fp32 dot of d terms in 4 or more lanes, two roundings a term, and the weight exp(logit - max) is
/// off by the factor exp(error of the logit). The 8 u cover exp (1 ulp), its fp32 sum, and the weighted sum of values,
/// which is added up in three levels (32 slots, the tiles of a split, splits) so that no chain of roundings is long;
/// the worst case of its bound is (32 + slots / 32 + splits + 8) u, when all roundings fall to one side.
/// Weights below 2^-126 count as zero.
namespace hashevict::cpu {

/// Slots [first_slot, last_slot) of one KV head, for all queries that see this head.
struct AttendSplit {
  const float* queries;  ///< [num_queries, head_dim], fp32, dense
  int32_t num_queries;   ///< group_size * query tokens, any number >= 1
  int32_t head_dim;      ///< a multiple of 8, 8 .. 256

  core::DType dtype;        ///< of keys and values: float32, float16 or bfloat16
  const void* keys;         ///< base pointer that `slots` counts from
  const void* values;       ///< likewise
  core::SlotAddress slots;  ///< for keys and values alike
  int32_t first_slot;
  int32_t last_slot;  ///< half-open; may equal first_slot

  const int32_t* positions;  ///< [slots of the head], indexed by slot; nullptr: no mask
  const int32_t*
      query_positions;  ///< [num_queries]: slot j is visible iff positions[j] <= query_positions[i]; nullptr: no mask

  float softmax_scale;
  float logit_soft_cap;  ///< logit = cap * tanh(scale * dot / cap); 0: off

  float* partial;  ///< out: partial_floats(num_queries, head_dim) floats, see PartialView
};

/// How a partial result lies in memory: accumulators [num_queries, head_dim], maxima [num_queries], sums [num_queries].
/// A query that saw no slot has maximum -infinity, sum 0 and accumulator 0.
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

/// Floats of one split's partial result.
constexpr int64_t partial_floats(int32_t num_queries, int32_t head_dim) {
  return int64_t{num_queries} * (int64_t{head_dim} + 2);
}

/// Floats attend_split() needs as scratch: bounded, it does not grow beyond 32 queries.
int64_t scratch_floats(int32_t num_queries, int32_t head_dim);

/// Computes one split. Neither allocates nor throws; concurrent calls need separate scratch and partials.
/// A NaN logit makes the query's result NaN, an infinite one too; logits of -infinity weigh nothing.
/// @param scratch scratch_floats() floats of any alignment, contents disposable
void attend_split(const AttendSplit& split, float* scratch);

/// Adds the partial results of `num_splits` splits up, in order.
/// @param partials [num_splits][partial_floats(num_queries, head_dim)]
/// @param out      [num_queries, head_dim]; zeros for a query that saw no slot
/// @param lse      [num_queries] natural logarithm of the sum of exp(logit), -infinity for such a query; or nullptr
void combine_splits(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, float* out,
                    float* lse);

}  // namespace hashevict::cpu
