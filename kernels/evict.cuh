// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "core/kv_layout.hpp"
#include "core/rule.hpp"
#include "kernels/detail/code.cuh"
#include "kernels/detail/evict_head.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

/// Encodes a token's key into code 0 and, where the rule looks at them, the group's queries into codes 1, 2, ...
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void encode_token(const EvictParams& p, const EvictHead& head, const EvictShared& shared,
                                   int64_t token) {
  const int32_t num_vectors = vectors_of<Rule>(p.group_size);
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    for (int32_t i = simt::thread_index(); i < count * p.head_dim; i += kEvictThreads) {
      const int32_t e = i % p.head_dim;
      const int32_t vector = first + i / p.head_dim;
      const float value = input_element(p, head, token, vector, e);
      if (vector == 0) shared.key.store(e, value);
      shared.staged.store(i, centered(p, head, vector, e, value));
    }
    simt::block_sync();
    for (int32_t unit = simt::warp(); unit < count * kCodeWords<kBits>; unit += kEvictThreads / 32) {
      const int32_t vector = unit / kCodeWords<kBits>;
      const int32_t word = unit % kCodeWords<kBits>;
      const uint32_t bits = project_word<kBits>(shared.staged, vector * p.head_dim, p.head_dim, head.projection, word);
      if (simt::lane() == 0) shared.codes.store((first + vector) * kCodeWords<kBits> + word, bits);
    }
    simt::block_sync();
  }
}

/// Adds the key to the running sum, and makes the mean's code code 1.
template <int32_t kBits>
HASHEVICT_DEVICE void encode_mean(const EvictParams& p, const EvictHead& head, const EvictShared& shared,
                                  int32_t position) {
  for (int32_t e = simt::thread_index(); e < p.head_dim; e += kEvictThreads) {
    const float sum = simt::add(simt::load(head.key_sum + e), shared.key.load(e));
    simt::store(head.key_sum + e, sum);
    const float mean = simt::divide(sum, static_cast<float>(position + 1));
    shared.staged.store(e, centered(p, head, 0, e, mean));
  }
  simt::block_sync();
  for (int32_t word = simt::warp(); word < kCodeWords<kBits>; word += kEvictThreads / 32) {
    const uint32_t bits = project_word<kBits>(shared.staged, 0, p.head_dim, head.projection, word);
    if (simt::lane() == 0) shared.codes.store(kCodeWords<kBits> + word, bits);
  }
  simt::block_sync();
}

/// Counts the key's bits, and makes the majority of all codes seen code 1.
template <int32_t kBits>
HASHEVICT_DEVICE void vote_majority(const EvictHead& head, const EvictShared& shared, int32_t position) {
  const int32_t bit = simt::thread_index();
  if (simt::warp() < kCodeWords<kBits>) {
    bool set = false;
    if (bit < kBits) {
      const auto own = static_cast<int32_t>(shared.codes.load(simt::warp()) >> simt::lane() & 1U);
      const int32_t count = simt::load(head.bit_counts + bit) + own;
      simt::store(head.bit_counts + bit, count);
      set = 2 * int64_t{count} >= int64_t{position} + 1;
    }
    const uint32_t bits = simt::ballot(simt::kFullMask, set);
    if (simt::lane() == 0) shared.codes.store(kCodeWords<kBits> + simt::warp(), bits);
  }
  simt::block_sync();
}

/// Sum of distances between a stored code and the probes.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE uint32_t probe_distance(const EvictParams& p, const EvictShared& shared, const Code<kBits>& code) {
  if constexpr (Rule::kProbe == core::Probe::none) return 0;
  const int32_t first = Rule::kProbe == core::Probe::new_key ? 0 : 1;
  const int32_t count = Rule::kProbe == core::Probe::queries ? p.group_size : 1;
  uint32_t distance = 0;
  for (int32_t n = first; n < first + count; ++n) {
    distance += hamming_distance(code, shared_code<kBits>(shared.codes, n));
  }
  return distance;
}

/// The new distance of a slot, through the rule's accumulator, to its score. `slot` is this thread's own.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE uint32_t score_slot(const EvictParams& p, const EvictHead& head, const EvictShared& shared,
                                     const core::StepFacts& facts, int32_t slot, int32_t position) {
  uint32_t distance = 0;
  if constexpr (Rule::kProbe != core::Probe::none) {
    distance = probe_distance<Rule>(p, shared, load_code<kBits>(head.codes, slot));
  }
  if constexpr (core::kHasAccumulator<Rule>) {
    using Accumulator = typename Rule::Accumulator;
    auto* const address = reinterpret_cast<Accumulator*>(head.accumulators) + slot;
    const Accumulator updated = Rule::update(simt::load(address), distance, facts);
    if constexpr (Rule::kAccumulates) simt::store(address, updated);
    return Rule::score(updated, distance, position, facts);
  } else {
    return Rule::score({}, distance, position, facts);
  }
}

/// Scans this thread's slots; returns its best candidate.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE Candidate scan(const EvictParams& p, const EvictHead& head, const EvictShared& shared,
                                const core::StepFacts& facts) {
  const int32_t time = facts.token_position;
  const int32_t length = time < p.capacity ? time : p.capacity;
  Candidate best{0, -1};
  for (int32_t slot = simt::thread_index(); slot < length; slot += kEvictThreads) {
    const int32_t position = simt::load(head.positions + slot);
    const uint32_t score = score_slot<Rule, kBits>(p, head, shared, facts, slot, position);
    const bool evictable = position >= p.num_sink_tokens && position < time - p.recent_window;
    if (!evictable) continue;
    const uint64_t key = eviction_key(p, score, position, slot, position >= head.prompt_length);
    if (key > best.key) best = {key, slot};
  }
  return best;
}

/// The slot of the new token: the next one, or the victim's.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE int32_t find_slot(const EvictParams& p, const EvictHead& head, const EvictShared& shared,
                                   const core::StepFacts& facts) {
  const bool full = facts.token_position >= p.capacity;
  Candidate best{0, -1};
  if (full || Rule::kAccumulates) best = scan<Rule, kBits>(p, head, shared, facts);
  if (!full) return facts.token_position;
  const uint64_t winner = simt::block_max<kEvictThreads>(best.key);
  if (best.key == winner && winner != 0) shared.slot.store(0, best.slot);
  simt::block_sync();
  return shared.slot.load(0);
}

/// What the new token's accumulator starts from.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE core::NewToken new_token(const EvictParams& p, const EvictShared& shared) {
  core::NewToken token{0, 0.0F};
  if constexpr (Rule::kAccumulates && Rule::kProbe == core::Probe::queries) {
    token.own_distance = probe_distance<Rule>(p, shared, shared_code<kBits>(shared.codes, 0));
  }
  if constexpr (Rule::kNeedsNorm) {
    for (int32_t e = 0; e < p.head_dim; ++e) {
      token.squared_norm = simt::fma(shared.key.load(e), shared.key.load(e), token.squared_norm);
    }
  }
  return token;
}

/// One thread overwrites the slot's code, position and accumulator, and tells what it did.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void replace(const EvictParams& p, const EvictHead& head, const EvictShared& shared, int64_t token,
                              int32_t position, int32_t slot) {
  const int32_t victim = simt::load(head.positions + slot);
  store_number(p.slots, token, head.kv_head, slot);
  store_number(p.victims, token, head.kv_head, victim);
  simt::store(head.positions + slot, position);
  store_code(head.codes, slot, shared_code<kBits>(shared.codes, 0));
  if constexpr (core::kHasAccumulator<Rule>) {
    using Accumulator = typename Rule::Accumulator;
    const Accumulator start = Rule::start(new_token<Rule, kBits>(p, shared));
    simt::store(reinterpret_cast<Accumulator*>(head.accumulators) + slot, start);
  }
}

/// One decode step of one head, without its attention.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void take_token(const EvictParams& p, const EvictHead& head, const EvictShared& shared, int64_t token,
                                 int32_t position) {
  core::StepFacts facts = p.facts;
  facts.token_position = position;
  facts.kv_head += head.kv_head;
  encode_token<Rule, kBits>(p, head, shared, token);
  if constexpr (Rule::kProbe == core::Probe::mean_key) encode_mean<kBits>(p, head, shared, position);
  if constexpr (Rule::kProbe == core::Probe::majority) vote_majority<kBits>(head, shared, position);
  const int32_t slot = find_slot<Rule, kBits>(p, head, shared, facts);
  simt::block_sync();  // every scan is done before anything that it reads is overwritten
  if (simt::thread_index() == 0) replace<Rule, kBits>(p, head, shared, token, position, slot);
  if (p.kv.keys != nullptr) store_rows(p, head, token, slot);
  simt::block_sync();
}

/// One step of all rows and heads of a layer. Grid: (rows, num_kv_heads), kEvictThreads threads: a block a head.
/// Threads: one warp a word of a vector to encode (lane = bit); in the scan, thread t owns slots t, t + 256, ...;
/// thread 0 overwrites the victim's code and position, all threads copy its key and value in 16-byte pieces.
/// Bytes: codes, positions and accumulators of the head once, the projection from L2, one key and value in and out.
/// Bound: latency of head_dim dependent fma, then of one pass over codes; tokens of a row follow one another.
/// Races: a head's slots belong to its block alone, with barriers between scan and replacement. All heads of a row read
/// tokens_seen; each then takes a ticket, and the block with the last one, when all have read, moves the counters on.
template <class Rule, int32_t kBits>
HASHEVICT_KERNEL(kEvictThreads) evict(EvictParams p) {
  const int32_t row = simt::block_x();
  const int32_t sequence = p.row_to_sequence == nullptr ? row : simt::load_constant(p.row_to_sequence + row);
  const int64_t first = p.cu_seqlens == nullptr ? row : simt::load_constant(p.cu_seqlens + row);
  const int64_t end = p.cu_seqlens == nullptr ? row + 1 : simt::load_constant(p.cu_seqlens + row + 1);
  if (sequence < 0 || first == end) return;
  const EvictShared shared = take_shared<Rule, kBits>(p);
  const EvictHead head = head_of<Rule, kBits>(p, sequence, simt::block_y());
  const int32_t before = simt::load_relaxed(p.state.tokens_seen + sequence);
  for (int64_t token = first; token < end; ++token) {
    take_token<Rule, kBits>(p, head, shared, token, before + static_cast<int32_t>(token - first));
  }
  if (simt::thread_index() == 0) count_tokens(p, sequence, before + static_cast<int32_t>(end - first));
}

}  // namespace hashevict::kernels
