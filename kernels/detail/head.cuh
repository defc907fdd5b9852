// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/layer.hpp"
#include "kernels/detail/simt.cuh"
#include "kernels/params.hpp"

/// The sequence that a block works for, and its head's part of the state.
namespace hashevict::kernels {

/// One row of a batch.
struct Row {
  int32_t sequence;  ///< -1: skip
  int32_t first_token;
  int32_t num_tokens;
};

/// Rows and offsets are read on the device alone, so no validator has seen them. A row out of range is skipped.
HASHEVICT_DEVICE Row row_of(const Batch& batch, int32_t row) {
  const Row skipped{-1, 0, 0};
  const int32_t sequence = batch.row_to_sequence == nullptr ? row : simt::load(batch.row_to_sequence + row);
  if (sequence < 0 || sequence >= batch.num_sequences) return skipped;
  int32_t first = row;
  int32_t end = row + 1;
  if (batch.cu_seqlens != nullptr) {
    first = simt::load(batch.cu_seqlens + row);
    end = simt::load(batch.cu_seqlens + row + 1);
  }
  if (first < 0 || end < first || end > batch.tokens) return skipped;
  return {sequence, first, end - first};
}

/// The row of a token: the last one that starts at or before it, found by bisection.
HASHEVICT_DEVICE Row row_of_token(const Batch& batch, int32_t token) {
  const Row skipped{-1, 0, 0};
  if (batch.rows == 0) return skipped;
  int32_t row = token;
  if (batch.cu_seqlens != nullptr) {
    row = 0;
    int32_t end = batch.rows;
    while (end - row > 1) {
      const int32_t middle = row + (end - row) / 2;
      (simt::load(batch.cu_seqlens + middle) <= token ? row : end) = middle;
    }
  }
  if (row >= batch.rows) return skipped;
  const Row found = row_of(batch, row);
  return token >= found.first_token && token - found.first_token < found.num_tokens ? found : skipped;
}

/// Reads the cache's memory the way kernels do.
struct Load {
  template <class T>
  HASHEVICT_DEVICE T operator()(const T* address) const {
    return simt::load(address);
  }
};

/// The state of one KV head of one sequence.
HASHEVICT_DEVICE Head head_of(const Layer& layer, int32_t sequence, int32_t kv_head) {
  return core::head_of(layer, sequence, kv_head, Load{});
}

/// Whether code that has a SharedHead uses an array. Counters are read before, and written behind the last token.
HASHEVICT_HOST_DEVICE constexpr bool is_recorded(core::StatePartIndex part, core::Content content) {
  return part != core::StatePartIndex::heads &&
         (content == core::Content::plain || content == core::Content::positions || content == core::Content::centers ||
          content == core::Content::parameter);
}

/// A block's record of its head, in shared memory: addresses are computed once, and no register keeps them.
class SharedHead {
 public:
  static HASHEVICT_HOST_DEVICE constexpr int32_t bytes() {
    return simt::shared_bytes<uint64_t>(kAddresses) + simt::shared_bytes<int32_t>(kNumbers);
  }
  HASHEVICT_DEVICE explicit SharedHead(simt::SharedMemory& memory)
      : addresses_{memory.take<uint64_t>(kAddresses)}, numbers_{memory.take<int32_t>(kNumbers)} {}

  /// All threads call it; then the block meets. A thread of warp 0 takes an array, one of warp 1 the rest.
  HASHEVICT_DEVICE void find(const core::HeadArrays& heads, const Layer& layer, int32_t sequence,
                             int32_t kv_head) const {
    const core::HeadSettings own = simt::load(layer.state.heads + kv_head);
    const int32_t thread = simt::thread_index();
    if (thread < kPages) addresses_.store(thread, heads.arrays[thread].of(sequence, kv_head, own.first_slot));
    if (thread != simt::kWarpSize) return;
    const int32_t* const pages = core::block_table_row(layer.table, sequence, kv_head, Load{});
    addresses_.store(kPages, reinterpret_cast<uint64_t>(pages));
    addresses_.store(kOffset, static_cast<uint64_t>(layer.kv.address(sequence, own.slots_offset, pages).offset));
    numbers_.store(0, sequence);
    numbers_.store(1, kv_head);
    numbers_.store(2, own.capacity);
    numbers_.store(3, own.num_sink_tokens);
    numbers_.store(4, own.recent_window);
    numbers_.store(5, layer.rule.pin_prompt ? simt::load(layer.state.prompt_lengths + sequence) : 0);
  }
  [[nodiscard]] HASHEVICT_DEVICE Head load(const Layer& layer) const {
    Head head{};
    head.layer = &layer;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content)                  \
  if constexpr (is_recorded(core::StatePartIndex::name, core::Content::content)) {      \
    const uint64_t address = addresses_.load(index_of(core::StatePartIndex::name));     \
    head.name = simt::in_global_memory(reinterpret_cast<decltype(head.name)>(address)); \
  }
    HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
    const auto* const pages = reinterpret_cast<const int32_t*>(addresses_.load(kPages));
    head.address = layer.kv.address(0, static_cast<int64_t>(addresses_.load(kOffset)), simt::in_global_memory(pages));
    head.sequence = numbers_.load(0);
    head.kv_head = numbers_.load(1);
    head.capacity = numbers_.load(2);
    head.num_sink_tokens = numbers_.load(3);
    head.recent_window = numbers_.load(4);
    head.prompt_length = numbers_.load(5);
    return head;
  }

 private:
  static HASHEVICT_HOST_DEVICE constexpr int32_t index_of(core::StatePartIndex part) {
    return static_cast<int32_t>(part);
  }
  static constexpr auto kPages = static_cast<int32_t>(core::kNumStateParts);
  static constexpr int32_t kOffset = kPages + 1;
  static constexpr int32_t kAddresses = kOffset + 1;
  static constexpr int32_t kNumbers = 6;
  static_assert(kPages <= simt::kWarpSize);

  simt::SharedArray<uint64_t> addresses_;  ///< [kAddresses] of the head's arrays and page row; its slots' offset
  simt::SharedArray<int32_t> numbers_;     ///< [kNumbers]
};

/// The slots of one KV head.
HASHEVICT_DEVICE core::HeadSettings settings_of(const Layer& layer, int32_t kv_head) {
  return simt::load(layer.state.heads + kv_head);
}

/// Some slots of a head, for kernels that take the slots of all heads. Construction lists the splits of a layer, so
/// that no block is launched for slots that a head does not have, except in the last split of each head.
struct SlotRange {
  int32_t kv_head;
  int32_t first;
  int32_t count;  ///< of which the last may lie behind the head's end
};

/// One of `parts` equal parts of a split of a layer.
HASHEVICT_DEVICE SlotRange slot_range(const Layer& layer, int32_t split, int32_t part, int32_t parts) {
  const core::Split all = simt::load(layer.state.splits + split);
  const int32_t slots = settings_of(layer, all.kv_head).split_slots();
  return {all.kv_head, all.index * slots + part * (slots / parts), slots / parts};
}

/// Whether the table holds the pages that a sequence needs once it has seen `tokens` tokens. Only a CSR table limits
/// them, by offsets that are read on the device alone. A row without its pages is skipped: by all heads, so that they
/// agree on the tokens seen, even if only one of them lacks pages.
HASHEVICT_DEVICE bool has_pages(const Layer& layer, int32_t sequence, int32_t tokens) {
  const core::BlockTable& table = layer.table;
  if (table.offsets == nullptr) return true;
  const int32_t* const offsets = table.offsets + table.row(sequence, 0);
  bool all = true;
  HASHEVICT_NO_UNROLL
  for (int32_t kv_head = 0; kv_head == 0 || kv_head < table.num_heads; ++kv_head) {
    const int32_t first = simt::load(offsets + kv_head);
    const int32_t end = simt::load(offsets + kv_head + 1);
    const int32_t slots = settings_of(layer, kv_head).length(tokens);
    const int32_t full_pages = layer.kv.page_size.divide(slots);
    const int32_t pages = full_pages + (full_pages * layer.kv.page_size.value < slots ? 1 : 0);
    all = all && first >= 0 && end >= first && end <= table.length && end - first >= pages;
  }
  return all;
}

/// Whether the table holds the pages that a sequence needs once it has seen `before` + `more` tokens.
HASHEVICT_DEVICE bool has_pages_for(const Layer& layer, int32_t sequence, int32_t before, int32_t more) {
  return has_pages(layer, sequence, more < INT32_MAX - before ? before + more : INT32_MAX);
}

/// Moves a head's counters on. No other block may still read them.
HASHEVICT_DEVICE void count_tokens(const Layer& layer, int32_t sequence, int32_t kv_head, int32_t tokens_seen,
                                   int32_t capacity) {
  const int64_t counter = counter_of(layer, sequence, kv_head);
  simt::store_relaxed(layer.state.tokens_seen + counter, tokens_seen);
  simt::store_relaxed(layer.state.lengths + counter, tokens_seen < capacity ? tokens_seen : capacity);
}

/// Takes one of a head's `tickets` tickets for its counters, which each block takes once it has read them. One thread
/// of a block calls it, after a barrier of the block. @return whether it is the last; the tickets are then 0 again
HASHEVICT_DEVICE bool is_last_to_count(const Layer& layer, int32_t sequence, int32_t kv_head, int32_t tickets) {
  uint32_t* const ticket = layer.state.tickets + 2 * counter_of(layer, sequence, kv_head) + 1;
  const auto last = static_cast<uint32_t>(tickets - 1);
  simt::thread_fence();
  if (simt::atomic_increment(ticket, last) != last) return false;
  simt::thread_fence();
  return true;
}

}  // namespace hashevict::kernels
