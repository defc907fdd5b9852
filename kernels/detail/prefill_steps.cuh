// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_place.cuh"

/// The steps of a prompt in one head: where its slots lie, and how many steps are prepared together.
namespace hashevict::kernels {

/// Shared memory of a replay in a head.
struct ReplayShape {
  int32_t bytes;
  bool wide;          ///< steps are prepared 32 at a time
  bool shares_slots;  ///< a copy of the slots fits into the size that every device grants a block
};

inline constexpr int32_t kMostReplayBytes = 98 * 1024;

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int64_t chunk_bytes(const Layer& layer, bool wide) {
  const ChunkShape chunk = chunk_shape<kBits>(layer, wide);
  return int64_t{simt::shared_bytes<uint32_t>(chunk.words)} + simt::shared_bytes<float>(chunk.floats) +
         simt::shared_bytes<float>(chunk.importances);
}

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline ReplayShape replay_shape(const Layer& layer, int32_t capacity) {
  const int64_t of_wide = chunk_bytes<kBits>(layer, true) + bests_bytes<kBits>(layer, capacity);
  const bool wide = scans_many_steps(layer) && of_wide <= kMostReplayBytes;
  const int64_t bytes = wide ? of_wide : chunk_bytes<kBits>(layer, false);
  const int64_t with_slots = bytes + shared_slots_bytes<kBits>(capacity, layer.rule.facts);
  const bool shares = with_slots <= kMostReplayBytes;
  return {static_cast<int32_t>(shares ? with_slots : bytes), wide, shares};
}

/// Shared memory of a replay in any head of a layer. Where the heads differ in kind, as much as one may take.
template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int32_t replay_bytes(const Layer& layer) {
  const ReplayShape largest = replay_shape<kBits>(layer, layer.max_capacity);
  const ReplayShape smallest = replay_shape<kBits>(layer, layer.min_capacity);
  const bool alike = smallest.shares_slots == largest.shares_slots && smallest.wide == largest.wide;
  return alike ? largest.bytes : kMostReplayBytes;
}

/// Whether the steps of a row are taken 32 at a time: its scores and positions fit into short keys.
template <int32_t kBits>
HASHEVICT_DEVICE bool is_wide(const Prompt& prompt) {
  const auto most = static_cast<int32_t>(short_keys(prompt.layer()).most());
  return prompt.row.plan == Plan::by_rule && prompt.row.total() < most && prompt.head.capacity < most &&
         replay_shape<kBits>(prompt.layer(), prompt.head.capacity).wide;
}

/// The steps of all tokens one by one. In mode RECENT it reports the slots where tokens end up.
template <int32_t kBits>
HASHEVICT_DEVICE void replay(const Prompt& prompt) {
  simt::SharedMemory memory;
  const Layer& layer = prompt.layer();
  const Chunk chunk = take_chunk<kBits>(memory, layer, false);
  const bool by_age = prompt.row.plan == Plan::by_age;
  if (by_age) report_none(prompt);
  start_deaths(prompt);
  const GlobalSlots<kBits> global{prompt.head, prompt.rule().accumulator_bytes};
  const int32_t length = length_after(prompt.row);
  const ReplayShape shape = replay_shape<kBits>(layer, prompt.head.capacity);
  if (shape.shares_slots) {
    const auto shared = take_shared_slots<kBits>(memory, prompt.head.capacity, prompt.rule());
    copy_slots_of_thread(global, shared, prompt.head.length(prompt.row.before), prompt.rule());
    replay_tokens<kBits>(prompt, shared, chunk);
    copy_slots_of_thread(shared, global, length, prompt.rule());
  } else {
    replay_tokens<kBits>(prompt, global, chunk);
  }
  for (int32_t slot = simt::thread_index(); by_age && slot < length; slot += kChooseThreads) {
    const int64_t token = token_of(prompt.row, global.position(slot));
    if (token >= 0) store_number(prompt.params.evict.slots, token, prompt.head.kv_head, slot);
  }
}

/// The steps of a row that is_wide(), 32 at a time.
template <int32_t kBits>
HASHEVICT_DEVICE void replay_many(const Prompt& prompt) {
  const Layer& layer = prompt.layer();
  const Head& head = prompt.head;
  simt::SharedMemory memory;
  const Bests bests = take_bests<kBits>(memory, layer, head.capacity);
  const Chunk chunk = take_chunk<kBits>(memory, layer, true);
  start_deaths(prompt);
  const int32_t accumulator_bytes = prompt.rule().accumulator_bytes;
  if (replay_shape<kBits>(layer, head.capacity).shares_slots) {
    const auto shared = take_shared_slots<kBits>(memory, head.capacity, prompt.rule());
    const GlobalSlots<kBits> before{head, accumulator_bytes};
    copy_slots_of_thread(before, shared, head.length(prompt.row.before), prompt.rule());
    replay_wide<kBits>(prompt, shared, chunk, bests);
    // Looked up again, so that no register holds its pointers during the replay.
    const GlobalSlots<kBits> after{head_of(layer, head.sequence, head.kv_head), accumulator_bytes};
    copy_slots_of_thread(shared, after, head.length(prompt.row.total()), prompt.rule());
  } else {
    replay_wide<kBits>(prompt, GlobalSlots<kBits>{head, accumulator_bytes}, chunk, bests);
  }
}

}  // namespace hashevict::kernels
