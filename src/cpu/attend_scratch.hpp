// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::cpu {

/// Slots scored before their values are added up: so few that at head size 128 their keys, their values and the next
/// keys, on their way in, share the first-level cache. Tiles start at the first slot of a split, whatever the layout.
constexpr int kTileSlots = 32;
/// Queries that share one pass over a split; more of them take another pass. Bounds the scratch memory.
constexpr int kPassQueries = 32;
/// Queries whose accumulators share registers; a kernel takes 1, 2 or 4.
constexpr int kKernelQueries = 4;
/// Floats that hold one value for each query of a kernel, repeated to fill a vector (see attend_softmax-inl.hpp).
constexpr int kStateFloats = 16;

/// One pass's state, carved out of the caller's scratch floats. Rows of queries and accumulators are padded to
/// `row_floats` and hold their elements in the order in which vectors load keys and values (see kv_loader-inl.hpp).
/// "queries" below are filled up to a multiple of kKernelQueries.
struct AttendScratch {
  float* queries;       ///< [queries * row_floats], packed by pack_queries()
  float* accumulators;  ///< [queries, row_floats]
  float* weights;       ///< [kernels, kTileSlots, queries of the kernel] logits, then weights, of one tile
  float* maxima;        ///< [kernels, kStateFloats]
  float* sums;          ///< [kernels, kStateFloats]
  float* rescale;       ///< [kernels, kStateFloats] what one tile multiplies the earlier ones by

  static constexpr int32_t row_floats(int32_t head_dim) { return (head_dim + 15) / 16 * 16; }

  /// Where the state of `queries` queries, whole kernels, ends.
  static constexpr int64_t state_floats(int64_t queries) { return queries / kKernelQueries * kStateFloats; }

  static constexpr int64_t floats(int32_t num_queries, int32_t head_dim) {
    const int64_t queries = rows(num_queries);
    const int64_t state = (state_floats(queries) + 15) / 16 * 16;
    return queries * (2 * int64_t{row_floats(head_dim)} + kTileSlots) + 3 * state + kAlignment;
  }

  AttendScratch(float* memory, int32_t num_queries, int32_t head_dim) {
    const auto misaligned = reinterpret_cast<uintptr_t>(memory) / sizeof(float) % kAlignment;
    float* next = memory + (kAlignment - misaligned) % kAlignment;
    const int64_t count = rows(num_queries);
    const auto take = [&next](int64_t floats) {
      float* part = next;
      next += (floats + 15) / 16 * 16;
      return part;
    };
    queries = take(count * row_floats(head_dim));
    accumulators = take(count * row_floats(head_dim));
    weights = take(count * kTileSlots);
    maxima = take(state_floats(count));
    sums = take(state_floats(count));
    rescale = take(state_floats(count));
  }

 private:
  static constexpr int64_t kAlignment = 16;  ///< floats: a cache line

  /// Queries of one pass, filled up to whole kernels.
  static constexpr int64_t rows(int32_t num_queries) {
    const int64_t queries = num_queries < kPassQueries ? num_queries : kPassQueries;
    return (queries + kKernelQueries - 1) / kKernelQueries * kKernelQueries;
  }
};

}  // namespace hashevict::cpu
