// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace hashevict::cpu {

/// Slots scored before their values are added. At head size 128 their keys, their values and the next keys, which are
/// on their way in, fit into the first-level cache together. Tiles start at the first slot of a split, whatever the
/// layout.
constexpr int kTileSlots = 32;
/// Queries that share one pass over a split. More queries take further passes, which bounds the scratch memory.
constexpr int kPassQueries = 32;
/// Queries whose sums share registers: a set. Kernels are compiled for 1, 2, 4 and, where vectors and registers are
/// those of AVX-512, 8 of them.
constexpr int kSetQueries = 8;
/// A set's first query is a multiple of it.
constexpr int kSetStep = 4;
constexpr int kPassSets = kPassQueries / kSetStep;
/// Floats that hold one value per query of a set, repeated to fill a vector (see attend_softmax-inl.hpp).
constexpr int kStateFloats = 16;

/// The softmax of a set over the tiles so far: element e belongs to query e mod width.
struct SoftmaxState {
  float* maxima;   ///< [kStateFloats] largest logits
  float* sums;     ///< [kStateFloats] of exp(logit - maximum)
  float* rescale;  ///< [kStateFloats] the factor by which the current tile multiplies all earlier results
};

/// Up to kSetQueries queries of one pass and their part of the scratch memory. Rows of queries and accumulators are
/// padded. Their elements are in the order in which vectors load keys and values (see attend_queries-inl.hpp).
struct QuerySet {
  int first;            ///< of the pass
  int count;            ///< queries, 1 .. kSetQueries
  int width;            ///< queries of the kernel; those behind `count` are zero
  int row_floats;       ///< of one padded row
  float* queries;       ///< [width * row_floats], packed by pack_queries()
  float* accumulators;  ///< [width, row_floats]
  float* weights;       ///< [kTileSlots, width] logits, then weights, of one tile
  SoftmaxState softmax;
};

/// Number of queries of the kernel that takes `count` queries.
constexpr int kernel_width(int count) {
  return static_cast<int>(std::bit_ceil(static_cast<unsigned>(count)));
}

/// Number of queries of the next set of a pass with `left` more queries. Kernels take up to `widest`, and a set leaves
/// at most one of its kernel's queries empty.
constexpr int set_size(int left, int widest) {
  return std::min(left, left >= widest - 1 ? widest : kSetStep);
}

/// Carves the sets of one pass out of the caller's scratch floats.
class AttendScratch {
 public:
  static constexpr int64_t floats(int32_t num_queries, int32_t head_dim) {
    return num_steps(std::min(num_queries, kPassQueries)) * step_floats(head_dim) + kAlignment;
  }

  AttendScratch(float* memory, int32_t head_dim) : head_dim_{head_dim} {
    const auto misaligned = reinterpret_cast<uintptr_t>(memory) / sizeof(float) % kAlignment;
    memory_ = memory + (kAlignment - misaligned) % kAlignment;
  }

  /// The set of queries [first, first + count) of a pass.
  [[nodiscard]] QuerySet set(int first, int count) const {
    const int row = row_floats(head_dim_);
    const int room = num_steps(count) * kSetStep;
    float* next = memory_ + first / kSetStep * step_floats(head_dim_);
    const auto take = [&next](int floats) {
      float* const part = next;
      next += floats;
      return part;
    };
    return {.first = first,
            .count = count,
            .width = kernel_width(count),
            .row_floats = row,
            .queries = take(room * row),
            .accumulators = take(room * row),
            .weights = take(room * kTileSlots),
            .softmax = {.maxima = take(kStateFloats), .sums = take(kStateFloats), .rescale = take(kStateFloats)}};
  }

 private:
  static constexpr int64_t kAlignment = 16;  ///< floats: a cache line; the size of every part is a multiple of it

  static constexpr int32_t row_floats(int32_t head_dim) { return (head_dim + 15) / 16 * 16; }
  static constexpr int num_steps(int queries) { return (queries + kSetStep - 1) / kSetStep; }
  static constexpr int64_t step_floats(int32_t head_dim) {
    return kSetStep * (2 * int64_t{row_floats(head_dim)} + kTileSlots) + int64_t{3} * kStateFloats;
  }

  float* memory_;
  int32_t head_dim_;
};

}  // namespace hashevict::cpu
