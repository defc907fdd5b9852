// SPDX-License-Identifier: Apache-2.0
// Converts queries and results between the caller's order of elements and that of the vectors. Compiled once per
// instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <limits>

#include "cpu/attend_kernel.hpp"
#include "cpu/attend_scratch.hpp"
#include "cpu/kv_loader-inl.hpp"

#if defined(HASHEVICT_CPU_ATTEND_QUERIES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_QUERIES_INL_HPP
#undef HASHEVICT_CPU_ATTEND_QUERIES_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_QUERIES_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Scales the queries of a set of the pass that starts at query `first_query`. It interleaves them vector by vector,
/// with elements in the loader's order.
template <class Loader>
void pack_queries(const AttendSplit& split, int32_t first_query, const QuerySet& set) {
  const int head_dim = split.format.head_dim;
  const float* const from = split.queries + (int64_t{first_query} + set.first) * head_dim;
  float* to = set.queries;
  const auto element = [&](int q, int dim) {
    return q < set.count && dim < head_dim ? from[q * head_dim + dim] * split.softmax_scale : 0;
  };
  int dim = 0;
  for (; dim + 2 * kLanes <= head_dim; dim += 2 * kLanes) {
    for (int half = 0; half < 2; ++half) {
      for (int q = 0; q < set.width; ++q) {
        for (int lane = 0; lane < kLanes; ++lane) *to++ = element(q, dim + element_of<Loader>(half, lane));
      }
    }
  }
  for (; dim < head_dim; dim += kLanes) {
    for (int q = 0; q < set.width; ++q) {
      for (int lane = 0; lane < kLanes; ++lane) *to++ = element(q, dim + lane);
    }
  }
}

/// Clears the sums of a set.
inline void clear_sums(const QuerySet& set) {
  for (int i = 0; i < set.width * set.row_floats; ++i) set.accumulators[i] = 0;
  for (int i = 0; i < kStateFloats; ++i) {
    set.softmax.maxima[i] = -std::numeric_limits<float>::infinity();
    set.softmax.sums[i] = 0;
    set.softmax.rescale[i] = 1;
  }
}

/// Writes the sums of a set of the pass that starts at query `first_query` as the split's partial result, with elements
/// in the caller's order.
template <class Loader>
void write_partial(const QuerySet& set, int32_t first_query, const AttendSplit& split) {
  const int64_t head_dim = split.format.head_dim;
  for (int q = 0; q < set.count; ++q) {
    const int64_t query = int64_t{first_query} + set.first + q;
    const float* const from = set.accumulators + q * set.row_floats;
    float* const to = split.partial + query * head_dim;
    int dim = 0;
    for (; dim + 2 * kLanes <= head_dim; dim += 2 * kLanes) {
      for (int i = 0; i < 2 * kLanes; ++i) to[dim + element_of<Loader>(i / kLanes, i % kLanes)] = from[dim + i];
    }
    for (; dim < head_dim; ++dim) to[dim] = from[dim];
    split.partial[split.num_queries * head_dim + query] = set.softmax.maxima[q];
    split.partial[split.num_queries * (head_dim + 1) + query] = set.softmax.sums[q];
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
