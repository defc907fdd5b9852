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
    all = all && first >= 0 && end >= first && end <= table.length &&
          end - first >= core::num_parts(slots, layer.kv.page_size);
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
