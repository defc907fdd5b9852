// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/kv_layout.hpp"
#include "core/row_format.hpp"

/// \file
/// Attention of the queries of one (row, KV head) over its slots, in splits. attend_split() writes an unnormalised
/// partial result per split; combine_splits() combines them. One pass over keys and values, online softmax.
///
/// **Reproducibility.** A query's result depends only on the query, the visible slots of each split in slot order, the
/// scale, the soft cap and `multiply_bfloat`. The other queries of the call, the layout (strided or paged), alignment,
/// thread and the contents of masked slots do not change a bit of it. So one call with several query tokens equals one
/// call per token bit for bit. Masked slots behind the last visible one (whole splits included) give the bits of a
/// cache that ends there. Slots masked between visible ones contribute nothing either, but a cache without them groups
/// its sums differently: the results are equal up to rounding. Instruction sets differ in the last bits, too (vector
/// width, fused multiply-add, products of bf16).
///
/// **Error.** With u = 2^-24, w the exact weights and d = head_dim, against exact arithmetic on the same inputs:
///   |out - exact| <= (8 u + 4 e) * sum_j w_j |v_j|  for sums of independent roundings (as tested),
///   e = u * (d / 4 + 4) * max_j softmax_scale * sum_i |q_i k_ji| + u * max_j |logit_j - max|  bounds the error of the
///   fp32 logits.
/// e is first order: an fp32 dot of d terms in 4 or more lanes, two roundings a term, and the weight exp(logit - max)
/// changes by the factor exp(error of the logit). The 8 u cover exp (1 ulp), its fp32 sum, and the weighted sum of
/// values. That sum has three levels (32 slots, the tiles of a split, splits), so that no chain of roundings is long;
/// its worst case is (32 + slots / 32 + splits + 8) u, if all roundings go to one side.
/// Weights below 2^-126 count as zero. Where multiplies_bfloat(), queries and keys of bf16 below 2^-126 do, too: then e
/// also has 2^-126 * softmax_scale * sum_i (|q_i| + |k_ji|).
namespace hashevict::cpu {

/// Slots [first_slot, last_slot) of one KV head, for all queries that attend to it.
struct AttendSplit {
  const float* queries;  ///< [num_queries, head_dim], fp32, dense
  int32_t num_queries;   ///< group_size * query tokens, any number >= 1
  bool multiply_bfloat;  ///< all queries are numbers of bf16, to be multiplied as such if multiplies_bfloat()

  core::RowFormat format;   ///< of keys and values: float32, float16 or bfloat16; head_dim 8 .. 256
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

  float* partial;  ///< out: partial_floats(num_queries, head_dim) floats, see PartialView (attend_combine.hpp)
};

/// Floats of scratch memory that attend_split() needs. Beyond 32 queries the number stays the same.
int64_t scratch_floats(int32_t num_queries, int32_t head_dim);

/// Whether queries of bf16 are multiplied with keys of bf16 by instructions for such products (`vdpbf16ps`). The
/// products are exact and their sums fp32, so the error is as above.
bool multiplies_bfloat();

/// Computes one split. It neither allocates nor throws. Concurrent calls need separate scratch and partials. A logit
/// that is NaN or +infinity makes the query's result NaN; a logit of -infinity has weight 0.
/// @param scratch scratch_floats() floats of any alignment, contents disposable
void attend_split(const AttendSplit& split, float* scratch);

}  // namespace hashevict::cpu
