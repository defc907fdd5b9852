// SPDX-License-Identifier: Apache-2.0
#include "cpu/select_kernel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/select_kernel.cpp"
#include <hwy/foreach_target.h>
// This comment keeps clang-format from sorting: Highway requires this order
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxLanes = 16;  // kScanSlots is a multiple of the lanes of all chains together
constexpr size_t kChains = 4;     // independent accumulators
constexpr uint32_t kNone = ~0U;
static_assert(kScanSlots % (kMaxLanes * kChains) == 0);

/// Marks the lanes whose positions may be evicted.
template <class D>
HWY_INLINE hn::Mask<D> evictable(D d, const SelectSlot& args, hn::Vec<D> positions) {
  const auto first = hn::Set(d, static_cast<uint32_t>(args.first_position));
  const auto newest = hn::Set(d, static_cast<uint32_t>(args.end_position - 1 - args.first_position));
  const auto distance = hn::Sub(positions, first);  // wraps around below the first
  return hn::Eq(hn::Min(distance, newest), distance);
}

/// Loads positions as unsigned numbers, so that empty slots (-1) compare above all others.
template <class D>
HWY_INLINE hn::Vec<D> load_positions(D d, const SelectSlot& args, size_t slot) {
  return hn::LoadU(d, reinterpret_cast<const uint32_t*>(args.positions) + slot);
}

/// Finds the largest score of all slots, or of the evictable ones (0 if there are none).
template <bool kEvictableOnly>
HWY_INLINE uint32_t largest_score(const SelectSlot& args) {
  const hn::CappedTag<uint32_t, kMaxLanes> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> best[kChains] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += kChains * lanes) {
    for (size_t c = 0; c < kChains; ++c) {
      const size_t at = slot + c * lanes;
      auto scores = hn::LoadU(d, args.scores + at);
      if constexpr (kEvictableOnly) {
        scores = hn::IfThenElseZero(evictable(d, args, load_positions(d, args, at)), scores);
      }
      best[c] = hn::Max(best[c], scores);
    }
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(best[0], best[1]), hn::Max(best[2], best[3]))));
}

/// Finds the slot to evict among the evictable ones with exactly this score, or -1. Equal scores are rare for codes of
/// random projections and common for learned votes. So a round without a match ends at once, and one with many has no
/// branches.
template <bool kOldestFirst>
HWY_INLINE int32_t slot_with_score(const SelectSlot& args, uint32_t score) {
  const hn::CappedTag<uint32_t, kMaxLanes> d;
  const size_t lanes = hn::Lanes(d);
  const auto wanted = hn::Set(d, score);
  const auto none = hn::Set(d, kNone);
  auto ranks = none;  // the smallest position, or slot, of each lane
  auto slots = none;  // and its slot
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += kChains * lanes) {
    hn::Mask<decltype(d)> equal[kChains];
    for (size_t c = 0; c < kChains; ++c) equal[c] = hn::Eq(hn::LoadU(d, args.scores + slot + c * lanes), wanted);
    const auto any = hn::Or(hn::Or(equal[0], equal[1]), hn::Or(equal[2], equal[3]));
    if (hn::AllFalse(d, any)) continue;
    for (size_t c = 0; c < kChains; ++c) {
      const auto index = hn::Iota(d, static_cast<uint32_t>(slot + c * lanes));
      const auto positions = load_positions(d, args, slot + c * lanes);
      const auto candidates = hn::And(equal[c], evictable(d, args, positions));
      const auto lowest = hn::Min(ranks, hn::IfThenElse(candidates, kOldestFirst ? positions : index, none));
      slots = hn::IfThenElse(hn::Eq(lowest, ranks), slots, index);
      ranks = lowest;
    }
  }
  const auto is_first = hn::Eq(ranks, hn::MinOfLanes(d, ranks));  // in one lane, or in all if there is no candidate
  return static_cast<int32_t>(hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(is_first, slots, none))));
}

template <bool kOldestFirst>
HWY_INLINE int32_t select(const SelectSlot& args) {
  if (args.end_position <= args.first_position) return -1;
  if (!args.many_protected) {
    // The largest score of all slots usually belongs to an evictable one; positions are read only if it does not.
    const int32_t likely = slot_with_score<kOldestFirst>(args, largest_score<false>(args));
    if (HWY_LIKELY(likely >= 0)) return likely;
  }
  return slot_with_score<kOldestFirst>(args, largest_score<true>(args));
}

int32_t SelectSlotTarget(const SelectSlot& args) {
  return args.oldest_first ? select<true>(args) : select<false>(args);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {

HWY_EXPORT(SelectSlotTarget);

int32_t select_slot(const SelectSlot& args) {
  return HWY_DYNAMIC_DISPATCH(SelectSlotTarget)(args);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
