// SPDX-License-Identifier: Apache-2.0
// Prefetches rows for attention ahead of their use. Compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <cstdint>

#include "cpu/attend_scratch.hpp"
#include "cpu/fetch.hpp"
#include "cpu/kv_loader-inl.hpp"

#if defined(HASHEVICT_CPU_ROWS_AHEAD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#undef HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#else
#define HASHEVICT_CPU_ROWS_AHEAD_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Quarters of the next keys that the softmax fetches; the weighted sum, before the next dots, fetches the others. With
/// AVX-512 arithmetic takes less time than memory, which must not be idle in between.
constexpr int kSoftmaxQuarters = kLanes > 8 ? 1 : 0;
/// How much farther ahead dense rows are fetched, so that the first lines arrive in time.
constexpr int kAheadBytes = kLanes > 8 ? 512 : 0;

/// Rows of a tile to fetch into the cache while other rows are processed. Dense rows are fetched a line at a time
/// between the products, in ascending order: lines of a burst wait for each other, and other orders stop the
/// processor's own prefetcher. Other rows are fetched in bursts, row by row.
struct RowsAhead {
  const unsigned char* base;
  const int64_t* offsets;  ///< [kTileSlots] bytes from `base`
  int row_bytes;
  bool dense;            ///< rows are contiguous
  bool to_second_level;  ///< see Processor
};

/// Fetches row `index` into the cache, in a burst.
HWY_INLINE void fetch_row(const RowsAhead& rows, int index) {
  const unsigned char* const row = rows.base + rows.offsets[index];
  for (int i = 0; i < rows.row_bytes; i += kLineBytes) fetch_line(row + i, rows.to_second_level);
}

/// Fetches the lines of dense rows, one per call.
class LinesAhead {
 public:
  HWY_INLINE LinesAhead(const RowsAhead& rows, int first_byte)
      : at_(rows.base + rows.offsets[0] + (rows.dense ? first_byte + kAheadBytes : 0)),
        step_(rows.dense ? kLineBytes : 0),
        to_second_level_(rows.to_second_level) {}

  HWY_INLINE void fetch() {
    fetch_line(at_, to_second_level_);
    at_ += step_;
  }

 private:
  const unsigned char* at_;
  int step_;
  bool to_second_level_;
};

/// Starts at the softmax's part of the next keys, which comes first.
HWY_INLINE LinesAhead softmax_lines(const RowsAhead& next_keys) {
  return LinesAhead(next_keys, 0);
}

/// Number of these lines to fetch per kLanes slots.
HWY_INLINE int softmax_lines_per_step(const RowsAhead& next_keys) {
  return kSoftmaxQuarters * next_keys.row_bytes * kLanes / (4 * kLineBytes);
}

/// Starts at the weighted sum's part of the next keys, from the byte that corresponds to byte `at` of the value rows.
HWY_INLINE LinesAhead weighted_sum_lines(const RowsAhead& next_keys, int at) {
  return LinesAhead(next_keys, kTileSlots * (kSoftmaxQuarters * next_keys.row_bytes + (4 - kSoftmaxQuarters) * at) / 4);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
