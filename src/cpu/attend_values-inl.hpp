// SPDX-License-Identifier: Apache-2.0
// The weighted sum of the values of one tile, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include "cpu/attend_products-inl.hpp"
#include "cpu/rows_ahead-inl.hpp"

#if defined(HASHEVICT_CPU_ATTEND_VALUES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_VALUES_INL_HPP
#undef HASHEVICT_CPU_ATTEND_VALUES_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_VALUES_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// The visible slots of one tile, their weights, and the sums that receive the weighted values.
struct WeightedValues {
  const unsigned char* values;
  const int64_t* offsets;  ///< [count] bytes from `values`
  int count;
  const float* weights;  ///< [count, kQueries]
  const float* rescale;  ///< [kQueries]
  float* accumulators;   ///< [kQueries, row_floats]
  int row_floats;
  int head_dim;
  RowsAhead next_keys;
};

/// sums += weight * value of one slot, for the kVectors vectors from `row` on. These are pairs, the vector behind the
/// last pair, or, if kRest, the half vector that load_rest() loads.
template <class Loader, int kQueries, int kVectors, bool kRest>
HWY_INLINE void add_value(const unsigned char* row, const float* weights, FloatVector* sums) {
  const auto* const value = elements_of<Loader>(row);
  FloatVector elements[kVectors];
  if constexpr (kRest) {
    elements[0] = load_rest<Loader>(value);
  } else if constexpr (kVectors == 1) {
    elements[0] = load_vector<Loader>(value);
  } else {
    HASHEVICT_UNROLL
    for (int v = 0; v < kVectors; v += 2) {
      elements[v] = Loader::first(value + v * kLanes);
      elements[v + 1] = Loader::second(value + v * kLanes);
    }
  }
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    add_products<1>(elements, hwy::HWY_NAMESPACE::Set(Floats(), weights[q]), &sums[q * kVectors]);
  }
}

/// accumulator = accumulator * rescale + sum over the tile of weight * value, for kVectors vectors of dimensions from
/// `dim` on. The tile's sum starts from zero, which keeps chains of roundings short. Fetches the next keys along the
/// way.
template <class Loader, int kQueries, int kVectors, bool kRest = false>
HWY_INLINE void accumulate_strip(const WeightedValues& tile, int dim) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sums[kQueries * kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) sums[i] = hn::Zero(d);
  constexpr int kElementBytes = static_cast<int>(sizeof(typename Loader::Element));
  constexpr int kStripBytes = kVectors * kLanes * kElementBytes;
  constexpr int kFetched = 4 - kSoftmaxQuarters;  // of 4 lines
  constexpr int kStep = HWY_MAX((kFetched == 4 ? 1 : 4) * kLineBytes / kStripBytes, 2);
  const unsigned char* const values = tile.values + dim * kElementBytes;
  const int64_t* const offsets = tile.offsets;
  const float* const weights = tile.weights;
  const int count = tile.count;
  auto ahead = weighted_sum_lines(tile.next_keys, dim * kElementBytes);
  int j = 0;
  for (; j + kStep <= count; j += kStep) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kStep * kStripBytes / kLineBytes * kFetched / 4; ++line) ahead.fetch();
    HASHEVICT_UNROLL
    for (int i = 0; i < kStep; ++i) {
      const unsigned char* const value = values + offsets[j + i];
      add_value<Loader, kQueries, kVectors, kRest>(value, weights + (j + i) * kQueries, sums);
    }
  }
  for (; j < count; ++j) {
    add_value<Loader, kQueries, kVectors, kRest>(values + offsets[j], weights + j * kQueries, sums);
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    float* const at = tile.accumulators + i / kVectors * tile.row_floats + dim + i % kVectors * kLanes;
    const auto rescale = hn::Set(d, tile.rescale[i / kVectors]);
    hn::Store(hn::MulAdd(hn::Load(d, at), rescale, sums[i]), d, at);
  }
}

/// Runs accumulate_strip() for as many strips of kVectors vectors as fit between `dim` and head_dim.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE int accumulate_strips(const WeightedValues& tile, int dim) {
  const RowsAhead& next = tile.next_keys;
  const int head_dim = tile.head_dim;
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    const int end = next.dense ? 0 : kTileSlots * (dim + kVectors * kLanes) / head_dim;
    for (int j = kTileSlots * dim / head_dim; j < end; ++j) fetch_row(next, j);
    accumulate_strip<Loader, kQueries, kVectors>(tile, dim);
  }
  return dim;
}

/// Computes the weighted sum over all dimensions, with as many vectors at a time as registers hold.
template <class Loader, int kQueries>
HWY_NOINLINE void accumulate_tile(const WeightedValues& tile) {
  constexpr int kVectors = kFactors<kQueries>;
  int dim = accumulate_strips<Loader, kQueries, kVectors>(tile, 0);
  if constexpr (kVectors > 4) dim = accumulate_strips<Loader, kQueries, 4>(tile, dim);
  if constexpr (kVectors > 2) dim = accumulate_strips<Loader, kQueries, 2>(tile, dim);
  dim = accumulate_strips<Loader, kQueries, 1>(tile, dim);
  if constexpr (kLanes > kHeadDimStep) {
    if (dim < tile.head_dim) accumulate_strip<Loader, kQueries, 1, true>(tile, dim);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
