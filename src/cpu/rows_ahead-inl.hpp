// SPDX-License-Identifier: Apache-2.0
// What attention fetches into the cache ahead of its use, compiled once per instruction set: no include guard but
// Highway's.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>

#include "cpu/attend_scratch.hpp"
#include "cpu/kv_loader-inl.hpp"

#if defined(HASHEVICT_CPU_ROWS_AHEAD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#undef HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#else
#define HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

constexpr int kLineBytes = 64;

template <class Element>
constexpr int kLineElements = kLineBytes / static_cast<int>(sizeof(Element));

/// Quarters of the next keys that the softmax fetches; the weighted sum, before the next dots, fetches the others. With
/// AVX-512 arithmetic takes less time than memory does, and memory must not stand still in between.
constexpr int kSoftmaxQuarters = kLanes > 8 ? 1 : 0;
/// How much farther ahead dense rows are fetched, so that the first lines have been under way for long enough.
constexpr int kAheadBytes = kLanes > 8 ? 512 : 0;

/// Fetches the row at `row` into the cache.
template <class Element>
HWY_INLINE void prefetch_row(const Element* row, int row_elements) {
  for (int i = 0; i < row_elements; i += kLineElements<Element>) hwy::Prefetch(row + i);
}

/// The rows of a tile, to fetch into the cache on the way through other rows. If dense, a line at a time between the
/// products, in ascending order: in bursts the lines wait for each other, and other orders stop the processor's own
/// prefetcher from running ahead. Otherwise in bursts, row by row.
template <class Element>
struct RowsAhead {
  const Element* base;
  const int64_t* offsets;  ///< [kTileSlots]
  bool dense;              ///< one behind the other
};

/// Fetches the lines of dense rows, one at a call.
template <class Element>
class LinesAhead {
 public:
  HWY_INLINE LinesAhead(const RowsAhead<Element>& rows, int first_element)
      : at_(reinterpret_cast<const char*>(rows.base + rows.offsets[0] + (rows.dense ? first_element : 0)) +
            (rows.dense ? kAheadBytes : 0)),
        step_(rows.dense ? kLineBytes : 0) {}

  HWY_INLINE void fetch() {
    hwy::Prefetch(at_);
    at_ += step_;
  }

 private:
  const char* at_;
  int step_;
};

/// Fetches the softmax's part of the next keys, from the first on.
template <class Element>
HWY_INLINE LinesAhead<Element> softmax_lines(const RowsAhead<Element>& next_keys) {
  return LinesAhead<Element>(next_keys, 0);
}

/// How many of these are fetched on the way through kLanes slots.
template <class Element>
HWY_INLINE int softmax_lines_per_step(int head_dim) {
  return kSoftmaxQuarters * head_dim * kLanes / (4 * kLineElements<Element>);
}

/// Fetches the weighted sum's part of the next keys, from what falls to dimension `dim` of the values on.
template <class Element>
HWY_INLINE LinesAhead<Element> weighted_sum_lines(const RowsAhead<Element>& next_keys, int head_dim, int dim) {
  return LinesAhead<Element>(next_keys, kTileSlots * (kSoftmaxQuarters * head_dim + (4 - kSoftmaxQuarters) * dim) / 4);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
