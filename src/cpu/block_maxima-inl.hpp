// SPDX-License-Identifier: Apache-2.0
// The largest score of each block of slots, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "cpu/scan_kernel.hpp"

#if defined(HASHEVICT_CPU_BLOCK_MAXIMA_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_BLOCK_MAXIMA_INL_HPP
#undef HASHEVICT_CPU_BLOCK_MAXIMA_INL_HPP
#else
#define HASHEVICT_CPU_BLOCK_MAXIMA_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxLanes = 16;  // kScanSlots is a multiple of the lanes of all chains together
constexpr size_t kChains = 4;     // independent accumulators
static_assert(kScanSlots % (kMaxLanes * kChains) == 0 && kBlockSlots % kScanSlots == 0);

/// The largest of `num_slots` scores, a multiple of kScanSlots.
/// @param masked returns a vector of scores at a slot, with 0 for those that do not count
template <class Masked>
HWY_INLINE uint32_t largest_score(const uint32_t* scores, int32_t num_slots, const Masked& masked) {
  const hn::CappedTag<uint32_t, kMaxLanes> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> best[kChains] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += kChains * lanes) {
    for (size_t c = 0; c < kChains; ++c) {
      const size_t at = slot + c * lanes;
      best[c] = hn::Max(best[c], masked(hn::LoadU(d, scores + at), at));
    }
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(best[0], best[1]), hn::Max(best[2], best[3]))));
}

using Words = hn::CappedTag<uint32_t, kMaxLanes>;
using WordVector = hn::Vec<Words>;

/// Marks the lanes whose positions may be evicted.
HWY_INLINE hn::Mask<Words> is_evictable(PositionRange range, WordVector positions) {
  const Words d;
  const auto first = hn::Set(d, static_cast<uint32_t>(range.first));
  const auto newest = hn::Set(d, static_cast<uint32_t>(range.end - 1 - range.first));
  const auto distance = hn::Sub(positions, first);  // wraps around below the first
  return hn::Eq(hn::Min(distance, newest), distance);
}

/// Loads positions as unsigned numbers, so that empty slots (-1) compare above all others.
HWY_INLINE WordVector load_positions(const int32_t* positions, size_t slot) {
  return hn::LoadU(Words(), reinterpret_cast<const uint32_t*>(positions) + slot);
}

/// The largest score of the evictable ones among `num_slots` slots, or 0 if there are none.
HWY_INLINE uint32_t largest_evictable(const uint32_t* scores, const int32_t* positions, int32_t num_slots,
                                      PositionRange range) {
  return largest_score(scores, num_slots, [=](WordVector vector, size_t at) HWY_ATTR {
    return hn::IfThenElseZero(is_evictable(range, load_positions(positions, at)), vector);
  });
}

/// maxima[b] = the largest score of block b.
HWY_INLINE void find_block_maxima(const uint32_t* scores, int32_t num_slots, uint32_t* maxima) {
  for (int32_t first = 0; first < num_slots; first += kBlockSlots) {
    const int32_t count = std::min(kBlockSlots, num_slots - first);
    *maxima++ = largest_score(scores + first, count, [](auto vector, size_t /*at*/) HWY_ATTR { return vector; });
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
