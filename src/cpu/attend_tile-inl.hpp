// SPDX-License-Identifier: Apache-2.0
// The slots of one tile and their visibility to queries, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <cstdint>

#include "cpu/attend_kernel.hpp"
#include "cpu/attend_scratch.hpp"

#if defined(HASHEVICT_CPU_ATTEND_TILE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_TILE_INL_HPP
#undef HASHEVICT_CPU_ATTEND_TILE_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_TILE_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Bits 0 .. count - 1 set, one per slot of a tile; count >= 1.
constexpr uint64_t first_bits(int count) {
  return ~uint64_t{0} >> (64 - count);
}
static_assert(kTileSlots <= 64);

/// Up to kTileSlots slots and the addresses of their rows.
struct Tile {
  int32_t first = 0;
  int count = 0;       ///< 0 behind the last tile of the split
  bool dense = false;  ///< rows are contiguous
  int64_t offsets[kTileSlots] =
      {};  ///< bytes from the base of keys and of values; the last one is repeated up to the end

  /// Looks up the rows of the tile that starts at `first_slot`.
  void locate(const AttendSplit& split, int32_t first_slot) {
    first = first_slot;
    count = static_cast<int>(HWY_MAX(HWY_MIN(split.last_slot - first_slot, kTileSlots), 0));
    if (count == 0) return;
    dense = split.slots.slot_stride == split.format.row_bytes() && split.slots.run(first) >= count;
    for (int j = 0; j < count;) {
      const int run = HWY_MIN(split.slots.run(first + j), count - j);
      int64_t offset = split.slots(first + j);
      for (const int end = j + run; j < end; ++j, offset += split.slots.slot_stride) offsets[j] = offset;
    }
    for (int j = count; j < kTileSlots; ++j) offsets[j] = offsets[count - 1];
  }
};

/// The slots of a tile that each query of a pass sees, one bit per slot.
struct VisibleSlots {
  uint64_t of[kPassQueries];
  uint64_t any;  ///< seen by some query
};

/// Compares the tile's positions with those of queries [first_query, first_query + count).
inline void find_visible(const AttendSplit& split, const Tile& tile, int32_t first_query, int count,
                         VisibleSlots& visible) {
  const uint64_t all = first_bits(tile.count);
  visible.any = all;
  if (split.positions == nullptr || split.query_positions == nullptr) {
    for (int q = 0; q < count; ++q) visible.of[q] = all;
    return;
  }
  const int32_t* const positions = split.positions + tile.first;
  int32_t oldest = positions[0], newest = positions[0];
  for (int j = 1; j < tile.count; ++j) {
    oldest = HWY_MIN(oldest, positions[j]);
    newest = HWY_MAX(newest, positions[j]);
  }
  visible.any = 0;
  for (int q = 0; q < count; ++q) {
    const int32_t query_position = split.query_positions[first_query + q];
    uint64_t seen = newest <= query_position ? all : 0;
    if (newest > query_position && oldest <= query_position) {
      for (int j = 0; j < tile.count; ++j) seen |= uint64_t{positions[j] <= query_position} << j;
    }
    visible.of[q] = seen;
    visible.any |= seen;
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
