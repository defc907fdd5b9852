// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/step.cuh"

/// The parts of decode() that depend on the rule. There are many rules and code sizes, and each part runs once a token.
/// So the parts are compiled apart from attention and look up their own inputs.
namespace hashevict::kernels {

/// A token and the KV head that takes it.
struct DecodeItem {
  int32_t sequence;
  int32_t kv_head;
  int32_t token;
  int32_t position;
  int32_t capacity;     ///< of the head
  int32_t first_split;  ///< of the head, among those of the layer
};

/// Valid slots before the token is placed.
HASHEVICT_DEVICE int32_t length_before(const DecodeItem& item) {
  return item.position < item.capacity ? item.position : item.capacity;
}

HASHEVICT_DEVICE bool is_full(const DecodeItem& item) {
  return item.position >= item.capacity;
}

/// Encodes the token and scans the slots of one split. @return the split's candidate, the same for all threads; key 0
/// means none, as in a cache that is not yet full
template <int32_t kBits>
HASHEVICT_NOINLINE Candidate find_candidate(const EvictParams& p, DecodeItem item, int32_t split) {
  const Layer& layer = p.layer;
  const Head head = head_of(layer, item.sequence, item.kv_head);
  simt::SharedMemory memory;
  const StepShared shared = take_step_shared(memory, layer);
  encode_token<kAttendThreads, kBits>(p, head, item.token, shared);
  Candidate best{0, -1};
  core::visit_rule(layer.rule.kind, [&](auto example) {
    using Rule = decltype(example);
    if (!Rule::kAccumulates && !is_full(item)) return;
    make_probe<kAttendThreads, Rule, kBits>(layer, head, shared, item.position, false);
    best = scan<Rule, kBits>(layer, head, shared, core::step_facts(layer, head.kv_head, item.position),
                             split * kSplitSlots, (split + 1) * kSplitSlots);
  });
  if (!is_full(item)) return {0, -1};
  const uint64_t winner = simt::block_max<kAttendThreads>(best.key);
  if (winner == 0) return {0, -1};
  if (best.key == winner) shared.slot.store(0, best.slot);
  simt::block_sync();
  return {winner, shared.slot.load(0)};
}

/// Updates the head's running sums and overwrites a slot with the token that find_candidate() encoded. No other block
/// reads the slot at this point.
template <int32_t kBits>
HASHEVICT_NOINLINE void overwrite(const EvictParams& p, DecodeItem item, int32_t slot) {
  const Layer& layer = p.layer;
  const Head head = head_of(layer, item.sequence, item.kv_head);
  simt::SharedMemory memory;
  const StepShared shared = take_step_shared(memory, layer);
  core::visit_rule(layer.rule.kind, [&](auto example) {
    using Rule = decltype(example);
    make_probe<kAttendThreads, Rule, kBits>(layer, head, shared, item.position, true);
    if (simt::thread_index() != 0) return;
    replace<Rule, kBits>(head, shared, p.slots, p.victims, item.token, item.position, slot);
  });
  store_rows(layer, head, p.k, p.v, item.token, slot);
}

}  // namespace hashevict::kernels
