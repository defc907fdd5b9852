// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace hashevict::cpu {

/// Slots scored before their values are added. At head size 128 their keys, their values and the next keys, which are
/// on their way in, fit into the first-level cache together. Tiles start at the first slot of a split, whatever the
/// layout.
constexpr int kTileSlots = 32;
/// Queries that share one pass over a split. More queries take further passes, which bounds the scratch memory.
constexpr int kPassQueries = 32;
/// Queries whose sums share registers: a quad. Kernels are compiled for 1, 2 and 4 of them.
constexpr int kQuadQueries = 4;
constexpr int kPassQuads = kPassQueries / kQuadQueries;
/// Floats that hold one value per query of a quad, repeated to fill a vector (see attend_softmax-inl.hpp).
constexpr int kStateFloats = 16;

/// The softmax of a quad over the tiles so far: element e belongs to query e mod width.
struct SoftmaxState {
  float* maxima;   ///< [kStateFloats] largest logits
  float* sums;     ///< [kStateFloats] of exp(logit - maximum)
  float* rescale;  ///< [kStateFloats] the factor by which the current tile multiplies all earlier results
};

/// Up to kQuadQueries queries of one pass and their part of the scratch memory. Rows of queries and accumulators are
/// padded. Their elements are in the order in which vectors load keys and values (see attend_queries-inl.hpp).
struct QueryQuad {
  int count;            ///< queries, 1 .. kQuadQueries
  int width;            ///< queries of the kernel; for three queries, the fourth is zero
  int row_floats;       ///< of one padded row
  float* queries;       ///< [width * row_floats], packed by pack_queries()
  float* accumulators;  ///< [width, row_floats]
  float* weights;       ///< [kTileSlots, width] logits, then weights, of one tile
  SoftmaxState softmax;
};

/// Number of queries of the kernel that takes `count` queries.
constexpr int kernel_width(int count) {
  return count == 3 ? 4 : count;
}

/// Carves the quads of one pass out of the caller's scratch floats.
class AttendScratch {
 public:
  static constexpr int64_t floats(int32_t num_queries, int32_t head_dim) {
    return num_quads(std::min(num_queries, kPassQueries)) * quad_floats(head_dim) + kAlignment;
  }

  AttendScratch(float* memory, int32_t head_dim) : head_dim_{head_dim} {
    const auto misaligned = reinterpret_cast<uintptr_t>(memory) / sizeof(float) % kAlignment;
    memory_ = memory + (kAlignment - misaligned) % kAlignment;
  }

  /// Number of quads for `queries` queries.
  static constexpr int num_quads(int queries) { return (queries + kQuadQueries - 1) / kQuadQueries; }

  /// Quad `index` of a pass, with `count` queries.
  [[nodiscard]] QueryQuad quad(int index, int count) const {
    const int row = row_floats(head_dim_);
    float* next = memory_ + index * quad_floats(head_dim_);
    const auto take = [&next](int floats) {
      float* const part = next;
      next += floats;
      return part;
    };
    return {.count = count,
            .width = kernel_width(count),
            .row_floats = row,
            .queries = take(kQuadQueries * row),
            .accumulators = take(kQuadQueries * row),
            .weights = take(kQuadQueries * kTileSlots),
            .softmax = {.maxima = take(kStateFloats), .sums = take(kStateFloats), .rescale = take(kStateFloats)}};
  }

 private:
  static constexpr int64_t kAlignment = 16;  ///< floats: a cache line; the size of every part is a multiple of it

  static constexpr int32_t row_floats(int32_t head_dim) { return (head_dim + 15) / 16 * 16; }
  static constexpr int64_t quad_floats(int32_t head_dim) {
    return kQuadQueries * (2 * int64_t{row_floats(head_dim)} + kTileSlots) + int64_t{3} * kStateFloats;
  }

  float* memory_;
  int32_t head_dim_;
};

}  // namespace hashevict::cpu
