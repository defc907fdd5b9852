// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/prefill_stage.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kSupersedeThreads = 128;  ///< a slot each, and a key each of those laid down at a time

template <int32_t kBits>
HASHEVICT_HOST_DEVICE constexpr int32_t supersede_bytes() {
  return simt::shared_bytes<uint32_t>(kSupersedeThreads * kCodeWords<kBits>);
}

/// For rule superseded after a selection at once: each survivor's smallest distance to any later key of the prompt.
/// Grid: (rows * tiles of kSupersedeThreads slots, H), kSupersedeThreads threads.
/// Threads: a slot each, its code in registers; keys go through shared memory, read by broadcast.
/// Bytes: codes of slots once, of the prompt once a tile, from L2. Bound: arithmetic, one distance a slot and later
/// key. Races: a thread writes its own slot's accumulator alone; barriers lie around each turn of keys. Budget: up to 2
/// KiB shared, below 64 registers, no spills.
template <int32_t kBits>
HASHEVICT_KERNEL(kSupersedeThreads)
prefill_supersede(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const int32_t tiles = (layer.capacity + kSupersedeThreads - 1) / kSupersedeThreads;
  const PrefillRow row = prefill_row(p, simt::block_x() / tiles);
  if (row.plan != Plan::one_shot) return;
  const Head head = head_of(layer, row.sequence, simt::block_y());
  const Prompt prompt{p, row, head, rule_facts(core::RuleKind::superseded)};
  const auto keys = simt::SharedMemory{}.take<uint32_t>(kSupersedeThreads * kCodeWords<kBits>);
  const int32_t first_slot = simt::block_x() % tiles * kSupersedeThreads;
  const int32_t slot = first_slot + simt::thread_index();
  const bool present = slot < layer.capacity;  // which is full after a selection
  const int32_t position = present ? simt::load(head.positions + slot) : INT32_MAX;
  const Code<kBits> code = present ? load_code<kBits>(head.codes, slot) : Code<kBits>{};
  uint32_t smallest = UINT32_MAX;
  const int32_t first_later = simt::load(head.positions + first_slot) + 1 - row.before;  // positions ascend
  for (int32_t first = first_later > 0 ? first_later : 0; first < row.num_tokens; first += kSupersedeThreads) {
    const int32_t left = row.num_tokens - first;
    const int32_t count = left < kSupersedeThreads ? left : kSupersedeThreads;
    simt::block_sync();
    if (simt::thread_index() < count) {
      keys.store_many(simt::thread_index() * kCodeWords<kBits>,
                      key_code<kBits>(prompt, first + simt::thread_index()).words);
    }
    simt::block_sync();
    for (int32_t i = 0; i < count; ++i) {
      if (row.before + first + i <= position) continue;
      Code<kBits> key;
      keys.load_many(i * kCodeWords<kBits>, key.words);
      const uint32_t distance = hamming_distance(code, key);
      smallest = distance < smallest ? distance : smallest;
    }
  }
  if (!present) return;
  const core::StepFacts facts = facts_of(layer, head, row.total());
  simt::store(head.accumulators + slot,
              core::Superseded::update(simt::load(head.accumulators + slot), smallest, facts));
}

}  // namespace hashevict::kernels
