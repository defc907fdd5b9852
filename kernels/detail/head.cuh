// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "core/rule.hpp"
#include "kernels/detail/simt.cuh"
#include "kernels/params.hpp"

/// Which sequence a block works for, and where its head's part of the state lies.
namespace hashevict::kernels {

/// One row of a batch.
struct Row {
  int32_t sequence;  ///< -1: skip
  int32_t first_token;
  int32_t num_tokens;
};

/// Rows and offsets are read on the device alone, so nobody has checked them: whatever is out of range is skipped.
HASHEVICT_DEVICE Row row_of(const Batch& batch, int32_t row) {
  const Row skipped{-1, 0, 0};
  const int32_t sequence = batch.row_to_sequence == nullptr ? row : simt::load_constant(batch.row_to_sequence + row);
  if (sequence < 0 || sequence >= batch.num_sequences) return skipped;
  int32_t first = row;
  int32_t end = row + 1;
  if (batch.cu_seqlens != nullptr) {
    first = simt::load_constant(batch.cu_seqlens + row);
    end = simt::load_constant(batch.cu_seqlens + row + 1);
  }
  if (first < 0 || end < first || end > batch.tokens) return skipped;
  return {sequence, first, end - first};
}

/// The row that has a token, found by bisection: the last one that starts at or before it.
HASHEVICT_DEVICE Row row_of_token(const Batch& batch, int32_t token) {
  const Row skipped{-1, 0, 0};
  if (batch.rows == 0) return skipped;
  int32_t row = token;
  if (batch.cu_seqlens != nullptr) {
    row = 0;
    int32_t end = batch.rows;
    while (end - row > 1) {
      const int32_t middle = row + (end - row) / 2;
      (simt::load_constant(batch.cu_seqlens + middle) <= token ? row : end) = middle;
    }
  }
  if (row >= batch.rows) return skipped;
  const Row found = row_of(batch, row);
  return token >= found.first_token && token - found.first_token < found.num_tokens ? found : skipped;
}

/// One KV head of one sequence: its part of the state.
struct Head {
  int32_t sequence;
  int32_t kv_head;
  int32_t prompt_length;  ///< positions below are evicted only if nothing else can be
  uint8_t* codes;
  int32_t* positions;
  uint8_t* accumulators;
  float* key_sum;
  int32_t* bit_counts;
  const float* key_center;     ///< nullptr: not centred
  const float* query_centers;  ///< [group_size, head_dim]
  const float* projection;     ///< [head_dim, hash_bits]
  core::SlotAddress address;
};

/// Bytes of a rule's accumulator.
HASHEVICT_HOST_DEVICE inline int32_t accumulator_bytes(core::RuleKind rule) {
  return core::visit_rule(rule, [](auto example) -> int32_t {
    using Rule = decltype(example);
    if constexpr (core::kHasAccumulator<Rule>) {
      return static_cast<int32_t>(sizeof(typename Rule::Accumulator));
    } else {
      return 0;
    }
  });
}

/// The sequence's row of the block table; nullptr: strided.
HASHEVICT_DEVICE const int32_t* pages_of(const Slots& kv, int32_t sequence) {
  if (kv.block_table == nullptr) return nullptr;
  if (kv.block_table_offsets == nullptr) return kv.block_table + sequence * kv.block_table_stride;
  return kv.block_table + simt::load_constant(kv.block_table_offsets + sequence);
}

HASHEVICT_DEVICE Head head_of(const Layer& layer, int32_t sequence, int32_t kv_head) {
  const State& s = layer.state;
  const int64_t pair = int64_t{sequence} * layer.num_kv_heads + kv_head;
  const int64_t slot = pair * layer.padded_capacity;
  const bool centers = s.key_centers != nullptr;
  const int32_t* const pages = pages_of(layer.kv, sequence);
  const int64_t sequence_offset = pages == nullptr ? sequence * layer.kv.sequence_stride : 0;
  const int64_t projection = layer.projection_per_head != 0 ? kv_head : 0;
  return Head{
      sequence,
      kv_head,
      layer.pin_prompt != 0 ? simt::load(s.prompt_lengths + sequence) : 0,
      s.codes + slot * (layer.facts.hash_bits / 8),
      s.positions + slot,
      s.accumulators + slot * accumulator_bytes(layer.rule),
      s.key_sums + pair * layer.head_dim,
      s.bit_counts + pair * layer.facts.hash_bits,
      centers ? s.key_centers + pair * layer.head_dim : nullptr,
      centers ? s.query_centers + pair * layer.group_size * layer.head_dim : nullptr,
      s.projection + projection * layer.head_dim * layer.facts.hash_bits,
      core::SlotAddress{pages, layer.kv.page_size, layer.kv.page_stride, layer.kv.slot_stride,
                        sequence_offset + kv_head * layer.kv.head_stride},
  };
}

/// What rules may know of the step of the token at `position`.
HASHEVICT_DEVICE core::StepFacts facts_of(const Layer& layer, const Head& head, int32_t position) {
  core::StepFacts facts = layer.facts;
  facts.token_position = position;
  facts.kv_head += head.kv_head;
  return facts;
}

/// Called by one thread of each of the `tickets` blocks that have read a sequence's counters, after a barrier of
/// theirs: the one with the last ticket knows that all others have read them, and moves them on. Tickets are 0 again
/// then.
HASHEVICT_DEVICE void count_tokens(const Layer& layer, int32_t sequence, int32_t tokens_seen, int32_t tickets) {
  uint32_t* const ticket = layer.state.tickets + int64_t{sequence} * (layer.num_kv_heads + 1);
  const auto last = static_cast<uint32_t>(tickets - 1);
  simt::thread_fence();
  if (simt::atomic_increment(ticket, last) != last) return;
  simt::thread_fence();
  simt::store_relaxed(layer.state.tokens_seen + sequence, tokens_seen);
  simt::store_relaxed(layer.state.lengths + sequence, tokens_seen < layer.capacity ? tokens_seen : layer.capacity);
}

}  // namespace hashevict::kernels
