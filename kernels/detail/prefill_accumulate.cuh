// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/prefill_stage.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kAccumulateThreads =
    128;  ///< threads of a block: each has one slot at a time, and each stages one key per turn
inline constexpr int32_t kAccumulateParts = 2;  ///< blocks that share a split
static_assert(kAccumulateParts * kAccumulateThreads <= 1 << core::kSplitBits);

template <int32_t kBits>
HASHEVICT_HOST_DEVICE constexpr int32_t accumulate_bytes() {
  return simt::shared_bytes<uint32_t>(kAccumulateThreads * kCodeWords<kBits>);
}

/// Updates a survivor's accumulator with the later keys of its prompt.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void accumulate(const Prompt& prompt, const simt::SharedArray<uint32_t>& keys, int32_t first_slot) {
  using Accumulator = typename Rule::Accumulator;
  const Layer& layer = prompt.layer();
  const Head& head = prompt.head;
  const PrefillRow& row = prompt.row;
  const int32_t slot = first_slot + simt::thread_index();
  const bool present = slot < head.capacity;  // which is full after a selection
  const int32_t position = present ? simt::load(head.positions + slot) : INT32_MAX;
  const Code<kBits> code = present ? load_code<kBits>(head.codes, slot) : Code<kBits>{};
  Accumulator accumulator = present ? simt::load(accumulator_at<Rule>(head, slot)) : Accumulator{};
  core::StepFacts facts = core::step_facts(layer, head.kv_head, 0);
  const int32_t first_later = simt::load(head.positions + first_slot) + 1 - row.before;  // positions ascend
  for (int32_t first = first_later > 0 ? first_later : 0; first < row.num_tokens; first += kAccumulateThreads) {
    const int32_t left = row.num_tokens - first;
    const int32_t count = left < kAccumulateThreads ? left : kAccumulateThreads;
    simt::block_sync();
    if (simt::thread_index() < count) {
      keys.store_many(simt::thread_index() * kCodeWords<kBits>,
                      key_code<kBits>(prompt, first + simt::thread_index()).words);
    }
    simt::block_sync();
    for (int32_t i = 0; i < count; ++i) {
      facts.token_position = row.before + first + i;
      if (facts.token_position <= position) continue;
      Code<kBits> key;
      keys.load_many(i * kCodeWords<kBits>, key.words);
      accumulator = Rule::update(accumulator, hamming_distance(code, key), facts);
    }
  }
  if (present) simt::store(accumulator_at<Rule>(head, slot), accumulator);
}

/// Updates accumulators after a selection, for rules whose accumulators need no steps: each survivor takes in all later
/// keys of the prompt. Grid: (rows * splits of all heads, kAccumulateParts in each),
/// kAccumulateThreads threads.
/// Threads: a slot each, its code in registers; keys go through shared memory, read by broadcast.
/// Bytes: codes of slots once, of the prompt once for kAccumulateThreads slots, from L2.
/// Bound: arithmetic, one distance a slot and later key.
/// Races: a thread writes its own slot's accumulator alone; barriers enclose each turn of keys.
/// Budget: up to 2 KiB shared, below 64 registers, no spills.
template <int32_t kBits>
HASHEVICT_KERNEL(kAccumulateThreads)
prefill_accumulate(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const SlotRange range =
      slot_range(layer, simt::block_x() % layer.num_splits.value, simt::block_y(), kAccumulateParts);
  const PrefillRow row = prefill_row(p, simt::block_x() / layer.num_splits.value, range.kv_head);
  if (row.plan != Plan::one_shot) return;
  const Head head = head_of(layer, row.sequence, range.kv_head);
  const Prompt prompt{p, row, head};
  const auto keys = simt::SharedMemory{}.take<uint32_t>(kAccumulateThreads * kCodeWords<kBits>);
  core::visit_rule(layer.rule.kind, [&](auto example) {
    using Rule = decltype(example);
    if constexpr (Rule::kNeedsNoSteps) {
      for (int32_t i = 0; i < range.count && range.first + i < row.capacity; i += kAccumulateThreads) {
        accumulate<Rule, kBits>(prompt, keys, range.first + i);
      }
    }
  });
}

}  // namespace hashevict::kernels
