// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::cpu {

/// Slots scored before their values are added up. Tiles start at the first slot of a split, whatever the layout.
constexpr int kTileSlots = 64;
/// Queries that share one pass over a split; more of them take another pass. Bounds the scratch memory.
constexpr int kPassQueries = 32;
/// Queries whose accumulators share registers.
constexpr int kKernelQueries = 4;

/// One pass's state, carved out of the caller's scratch floats. Rows of queries and accumulators are padded to
/// `row_floats` and hold their elements in the order in which vectors load keys and values (see KvLoader).
struct AttendScratch {
  float* queries;       ///< [queries * row_floats], packed by pack_queries()
  float* accumulators;  ///< [queries, row_floats]
  float* weights;       ///< [queries, kTileSlots] logits, then weights, of one tile
  float* maxima;        ///< [queries]
  float* sums;          ///< [queries]
  float* rescale;       ///< [queries] what one tile multiplies the earlier ones by

  static constexpr int32_t row_floats(int32_t head_dim) { return (head_dim + 15) / 16 * 16; }

  static constexpr int64_t floats(int32_t num_queries, int32_t head_dim) {
    const int64_t queries = num_queries < kPassQueries ? num_queries : kPassQueries;
    const int64_t padded = (queries + 15) / 16 * 16;
    return queries * (2 * int64_t{row_floats(head_dim)} + kTileSlots) + 3 * padded + kAlignment;
  }

  AttendScratch(float* memory, int32_t num_queries, int32_t head_dim) {
    const auto misaligned = reinterpret_cast<uintptr_t>(memory) / sizeof(float) % kAlignment;
    float* next = memory + (kAlignment - misaligned) % kAlignment;
    const int64_t count = num_queries < kPassQueries ? num_queries : kPassQueries;
    const auto take = [&next](int64_t floats) {
      float* part = next;
      next += (floats + 15) / 16 * 16;
      return part;
    };
    queries = take(count * row_floats(head_dim));
    accumulators = take(count * row_floats(head_dim));
    weights = take(count * kTileSlots);
    maxima = take(count);
    sums = take(count);
    rescale = take(count);
  }

 private:
  static constexpr int64_t kAlignment = 16;  ///< floats: a cache line
};

}  // namespace hashevict::cpu
