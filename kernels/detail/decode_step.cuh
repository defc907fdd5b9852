// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/step.cuh"

/// The parts of decode() that know of rules. There are many rules and code sizes, and each part runs once a token: so
/// they are compiled once, apart from attention, and look up for themselves what they work on.
namespace hashevict::kernels {

/// A token and the head that takes it.
struct DecodeItem {
  int32_t sequence;
  int32_t kv_head;
  int32_t token;
  int32_t position;
};

/// Valid slots before the token.
HASHEVICT_DEVICE int32_t length_before(const Layer& layer, const DecodeItem& item) {
  return item.position < layer.capacity ? item.position : layer.capacity;
}

HASHEVICT_DEVICE bool is_full(const Layer& layer, const DecodeItem& item) {
  return item.position >= layer.capacity;
}

/// Encodes the token, and scans the slots of one split. @return the split's candidate, the same for all threads; key 0:
/// there is none, as while the cache is not full
template <int32_t kBits>
HASHEVICT_NOINLINE Candidate find_candidate(const EvictParams& p, DecodeItem item, int32_t split) {
  const Layer& layer = p.layer;
  const Head head = head_of(layer, item.sequence, item.kv_head);
  simt::SharedMemory memory;
  const StepShared shared = take_step_shared(memory, layer);
  encode_token<kAttendThreads, kBits>(layer, head, p.q, p.k, item.token, shared);
  Candidate best{0, -1};
  core::visit_rule(layer.rule, [&](auto example) {
    using Rule = decltype(example);
    if (!Rule::kAccumulates && !is_full(layer, item)) return;
    make_probe<kAttendThreads, Rule, kBits>(layer, head, shared, item.position, false);
    best = scan<Rule, kBits>(layer, head, shared, facts_of(layer, head, item.position), split * kSplitSlots,
                             (split + 1) * kSplitSlots);
  });
  if (!is_full(layer, item)) return {0, -1};
  const uint64_t winner = simt::block_max<kAttendThreads>(best.key);
  if (winner == 0) return {0, -1};
  if (best.key == winner) shared.slot.store(0, best.slot);
  simt::block_sync();
  return {winner, shared.slot.load(0)};
}

/// Moves the head's running sums on, and overwrites a slot with the token that find_candidate() encoded. Nobody reads
/// the slot any more.
template <int32_t kBits>
HASHEVICT_NOINLINE void overwrite(const EvictParams& p, DecodeItem item, int32_t slot) {
  const Layer& layer = p.layer;
  const Head head = head_of(layer, item.sequence, item.kv_head);
  simt::SharedMemory memory;
  const StepShared shared = take_step_shared(memory, layer);
  core::visit_rule(layer.rule, [&](auto example) {
    using Rule = decltype(example);
    make_probe<kAttendThreads, Rule, kBits>(layer, head, shared, item.position, true);
    if (simt::thread_index() != 0) return;
    replace<Rule, kBits>(layer, head, shared, p.slots, p.victims, item.token, item.position, slot);
  });
  store_rows(layer, head, p.k, p.v, item.token, slot);
}

}  // namespace hashevict::kernels
