// SPDX-License-Identifier: Apache-2.0
#include "cpu/select_kernel.hpp"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/select_kernel.cpp"
#include <hwy/foreach_target.h>
// This comment keeps clang-format from sorting: Highway requires this order
#include <hwy/highway.h>

#include "cpu/block_maxima-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr uint32_t kNone = ~0U;

/// Slots [first, end) of block `index`.
struct Block {
  int32_t first, end;

  Block(const SelectSlot& args, int32_t index)
      : first{index * kBlockSlots}, end{std::min(first + kBlockSlots, args.num_slots)} {}
};

/// Finds the largest score of the evictable slots of a block, or 0 if there are none.
HWY_INLINE uint32_t largest_of_block(const SelectSlot& args, int32_t index) {
  const Block block(args, index);
  return largest_evictable(args.scores + block.first, args.positions + block.first, block.end - block.first,
                           args.evictable);
}

/// The best slot so far in each lane, by the order that breaks ties.
struct Leaders {
  WordVector ranks;  ///< the smallest position, or slot
  WordVector slots;  ///< and its slot
};

/// Adds the evictable slots of a block with exactly this score. Equal scores are rare for codes of random projections
/// and common for learned votes. So a round without a match ends at once, and one with many has no branches.
template <bool kOldestFirst>
HWY_INLINE void add_matches(const SelectSlot& args, int32_t index, uint32_t score, Leaders& leaders) {
  const Words d;
  const size_t lanes = hn::Lanes(d);
  const Block block(args, index);
  const auto wanted = hn::Set(d, score);
  const auto none = hn::Set(d, kNone);
  for (auto slot = static_cast<size_t>(block.first); slot < static_cast<size_t>(block.end); slot += kChains * lanes) {
    hn::Mask<Words> equal[kChains];
    for (size_t c = 0; c < kChains; ++c) equal[c] = hn::Eq(hn::LoadU(d, args.scores + slot + c * lanes), wanted);
    const auto any = hn::Or(hn::Or(equal[0], equal[1]), hn::Or(equal[2], equal[3]));
    if (hn::AllFalse(d, any)) continue;
    for (size_t c = 0; c < kChains; ++c) {
      const auto slots = hn::Iota(d, static_cast<uint32_t>(slot + c * lanes));
      const auto positions = load_positions(args.positions, slot + c * lanes);
      const auto candidates = hn::And(equal[c], is_evictable(args.evictable, positions));
      const auto lowest = hn::Min(leaders.ranks, hn::IfThenElse(candidates, kOldestFirst ? positions : slots, none));
      leaders.slots = hn::IfThenElse(hn::Eq(lowest, leaders.ranks), leaders.slots, slots);
      leaders.ranks = lowest;
    }
  }
}

/// Finds the slot to evict among the evictable ones with exactly this score, or -1, in the blocks that have it.
template <bool kOldestFirst>
HWY_INLINE int32_t slot_with_score(const SelectSlot& args, uint32_t score) {
  const Words d;
  const auto none = hn::Set(d, kNone);
  Leaders leaders{none, none};
  for (int32_t index = 0; index < num_blocks(args.num_slots); ++index) {
    if (args.block_maxima[index] == score) add_matches<kOldestFirst>(args, index, score, leaders);
  }
  const auto is_first = hn::Eq(leaders.ranks, hn::MinOfLanes(d, leaders.ranks));  // in all lanes if there is none
  return static_cast<int32_t>(hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(is_first, leaders.slots, none))));
}

/// Usually a slot with the largest score is evictable, and then no other positions are read. If none of them is, their
/// blocks fall back to the largest score of their evictable slots, and the search goes on.
template <bool kOldestFirst>
HWY_INLINE int32_t select(const SelectSlot& args) {
  constexpr int kFewTries = 8;  // then all blocks fall back at once, so that time stays linear
  if (args.evictable.end <= args.evictable.first) return -1;
  uint32_t* const maxima = args.block_maxima;
  const int32_t blocks = num_blocks(args.num_slots);
  for (int tries = 1;; ++tries) {
    const uint32_t best = blocks == 0 ? 0 : *std::max_element(maxima, maxima + blocks);
    const int32_t slot = slot_with_score<kOldestFirst>(args, best);
    if (slot >= 0 || best == 0) return slot;
    for (int32_t index = 0; index < blocks; ++index) {
      if (maxima[index] == best || tries == kFewTries) maxima[index] = largest_of_block(args, index);
    }
  }
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
