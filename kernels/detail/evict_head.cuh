// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "core/rule.hpp"
#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/params.hpp"

/// What a block knows of its head, and how it reads inputs and writes slots.
namespace hashevict::kernels {

inline constexpr int32_t kEvictThreads = 256;
inline constexpr int32_t kStagedVectors = 8;  ///< vectors encoded at a time

/// Vectors that a token brings to a head: its key and, where the rule looks at them, the group's queries.
template <class Rule>
HASHEVICT_HOST_DEVICE constexpr int32_t vectors_of(int32_t group_size) {
  return Rule::kProbe == core::Probe::queries ? 1 + group_size : 1;
}

/// Codes that a step holds in shared memory: those of the vectors, or the key's and a probe's.
template <class Rule>
HASHEVICT_HOST_DEVICE constexpr int32_t codes_of(int32_t group_size) {
  return Rule::kProbe == core::Probe::queries ? 1 + group_size : 2;
}

template <class Rule>
HASHEVICT_HOST_DEVICE constexpr int32_t staged_vectors(int32_t group_size) {
  return vectors_of<Rule>(group_size) < kStagedVectors ? vectors_of<Rule>(group_size) : kStagedVectors;
}

/// One head of one sequence: its part of the state.
struct EvictHead {
  int32_t kv_head;
  int32_t prompt_length;  ///< positions below are evicted only if nothing else can be
  uint8_t* codes;
  int32_t* positions;
  uint8_t* accumulators;
  float* key_sum;
  int32_t* bit_counts;
  const float* key_center;     ///< nullptr: not centred
  const float* query_centers;  ///< [group_size, head_dim]
  const float* projection;
  core::SlotAddress address;
};

/// What a block holds in shared memory.
struct EvictShared {
  simt::SharedArray<float> staged;    ///< [staged_vectors, head_dim], centred
  simt::SharedArray<float> key;       ///< [head_dim], as given
  simt::SharedArray<uint32_t> codes;  ///< [codes_of, code words]: the key's, then probes
  simt::SharedArray<int32_t> slot;    ///< [1], the victim's
};

/// Dynamic shared memory of a block of evict().
template <class Rule, int32_t kBits>
constexpr int32_t evict_shared_bytes(int32_t head_dim, int32_t group_size) {
  return simt::shared_bytes<float>(staged_vectors<Rule>(group_size) * head_dim) + simt::shared_bytes<float>(head_dim) +
         simt::shared_bytes<uint32_t>(codes_of<Rule>(group_size) * kCodeWords<kBits>) + simt::shared_bytes<int32_t>(1);
}

template <class Rule, int32_t kBits>
HASHEVICT_DEVICE EvictShared take_shared(const EvictParams& p) {
  simt::SharedMemory memory;
  const auto staged = memory.take<float>(staged_vectors<Rule>(p.group_size) * p.head_dim);
  const auto key = memory.take<float>(p.head_dim);
  const auto codes = memory.take<uint32_t>(codes_of<Rule>(p.group_size) * kCodeWords<kBits>);
  return {staged, key, codes, memory.take<int32_t>(1)};
}

/// The sequence's row of the block table.
HASHEVICT_DEVICE const int32_t* pages_of(const Slots& kv, int32_t sequence) {
  if (kv.block_table == nullptr) return nullptr;
  if (kv.block_table_offsets == nullptr) return kv.block_table + sequence * kv.block_table_stride;
  return kv.block_table + simt::load_constant(kv.block_table_offsets + sequence);
}

template <class Rule, int32_t kBits>
HASHEVICT_DEVICE EvictHead head_of(const EvictParams& p, int32_t sequence, int32_t kv_head) {
  constexpr int32_t kAccumulatorBytes =
      core::kHasAccumulator<Rule> ? static_cast<int32_t>(sizeof(typename Rule::Accumulator)) : 0;
  const State& s = p.state;
  const int64_t pair = int64_t{sequence} * p.num_kv_heads + kv_head;
  const int64_t slot = pair * p.padded_capacity;
  const bool centers = s.key_centers != nullptr;
  const int32_t* const pages = pages_of(p.kv, sequence);
  const int64_t sequence_offset = pages == nullptr ? sequence * p.kv.sequence_stride : 0;
  const int64_t projection = p.projection_per_head != 0 ? kv_head : 0;
  return EvictHead{
      kv_head,
      s.prompt_lengths == nullptr ? 0 : simt::load_constant(s.prompt_lengths + sequence),
      s.codes + slot * (kBits / 8),
      s.positions + slot,
      s.accumulators + slot * kAccumulatorBytes,
      s.key_sums + pair * p.head_dim,
      s.bit_counts + pair * kBits,
      centers ? s.key_centers + pair * p.head_dim : nullptr,
      centers ? s.query_centers + pair * p.group_size * p.head_dim : nullptr,
      s.projection + projection * p.head_dim * kBits,
      core::SlotAddress{pages, p.kv.page_size, p.kv.page_stride, p.kv.slot_stride,
                        sequence_offset + kv_head * p.kv.head_stride},
  };
}

/// Element `e` of a token's vector: 0 is the key, n the group's query n - 1.
HASHEVICT_DEVICE float input_element(const EvictParams& p, const EvictHead& head, int64_t token, int32_t vector,
                                     int32_t e) {
  const Vectors& x = vector == 0 ? p.k : p.q;
  const int64_t index = vector == 0 ? head.kv_head : int64_t{head.kv_head} * p.group_size + vector - 1;
  return load_element(x.data, x.dtype, token * x.stride[0] + index * x.stride[1] + e * x.stride[2]);
}

/// The same with the centre subtracted: before the products, as the definition wants it.
HASHEVICT_DEVICE float centered(const EvictParams& p, const EvictHead& head, int32_t vector, int32_t e, float value) {
  if (head.key_center == nullptr) return value;
  const float* const center = vector == 0 ? head.key_center : head.query_centers + (vector - 1) * p.head_dim;
  return simt::subtract(value, simt::load_constant(center + e));
}

/// A thread's best slot so far; key 0: none.
struct Candidate {
  uint64_t key;
  int32_t slot;
};

/// One number that orders evictable slots: unpinned first, then by score, then the smallest position or slot. Never 0,
/// since no evictable position is the largest there is; never the same for two slots of a head.
HASHEVICT_DEVICE uint64_t eviction_key(const EvictParams& p, uint32_t score, int32_t position, int32_t slot,
                                       bool unpinned) {
  const auto tie = static_cast<uint32_t>(INT32_MAX - (p.oldest_first != 0 ? position : slot));
  return uint64_t{unpinned} << 63 | uint64_t{score} << 31 | tie;
}

HASHEVICT_DEVICE void store_number(const Numbers& numbers, int64_t token, int32_t kv_head, int32_t value) {
  if (numbers.data == nullptr) return;
  simt::store(numbers.data + token * numbers.stride[0] + kv_head * numbers.stride[1], value);
}

/// All threads copy a token's row to a slot: 16 bytes at a time where both ends allow it.
HASHEVICT_DEVICE void store_row(const EvictParams& p, const EvictHead& head, const Vectors& input, int64_t token,
                                void* base, int64_t target) {
  const int64_t source = token * input.stride[0] + head.kv_head * input.stride[1];
  const bool dense = input.dtype == p.kv.dtype && input.stride[2] == 1;
  if (dense && is_aligned(input.data, input.dtype, source) && is_aligned(base, p.kv.dtype, target)) {
    const int32_t element = size_of(p.kv.dtype);
    const auto* const from = static_cast<const unsigned char*>(input.data) + source * element;
    auto* const to = static_cast<unsigned char*>(base) + target * element;
    for (int32_t i = simt::thread_index() * 16; i < p.head_dim * element; i += kEvictThreads * 16) {
      simt::store16(to + i, simt::load16(from + i));
    }
    return;
  }
  for (int32_t e = simt::thread_index(); e < p.head_dim; e += kEvictThreads) {
    store_element(base, p.kv.dtype, target + e,
                  load_element(input.data, input.dtype, source + e * input.stride[2]));
  }
}

HASHEVICT_DEVICE void store_rows(const EvictParams& p, const EvictHead& head, int64_t token, int32_t slot) {
  const int64_t target = head.address(slot);
  store_row(p, head, p.k, token, p.kv.keys, target);
  store_row(p, head, p.v, token, p.kv.values, target);
}

/// Called once a head when all its tokens are taken. The head that takes a row's last ticket knows that all others have
/// read the counters, and moves them on.
HASHEVICT_DEVICE void count_tokens(const EvictParams& p, int32_t sequence, int32_t tokens_seen) {
  simt::thread_fence();
  const auto last = static_cast<uint32_t>(p.num_kv_heads - 1);
  if (simt::atomic_increment(p.state.tickets + sequence, last) != last) return;
  simt::thread_fence();
  simt::store_relaxed(p.state.tokens_seen + sequence, tokens_seen);
  simt::store_relaxed(p.state.lengths + sequence, tokens_seen < p.capacity ? tokens_seen : p.capacity);
}

}  // namespace hashevict::kernels
