// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/detail/head.cuh"

/// The parts of a token's step: its codes, the probe, the slot it goes to, and what that slot becomes. All threads of a
/// block call each of them unless it says otherwise.
namespace hashevict::kernels {

inline constexpr int32_t kStagedVectors = 8;  ///< vectors encoded at a time

/// Whether a rule looks at the group's queries.
HASHEVICT_HOST_DEVICE inline bool probes_queries(core::RuleKind rule) {
  return core::visit_rule(rule, [](auto example) { return decltype(example)::kProbe == core::Probe::queries; });
}

/// What a block holds in shared memory.
struct StepShared {
  simt::SharedArray<float> staged;    ///< [staged vectors, head_dim], centred
  simt::SharedArray<float> key;       ///< [head_dim], as given
  simt::SharedArray<uint32_t> codes;  ///< [1 + probes, code words]: the key's, then the queries' or the probe's
  simt::SharedArray<int32_t> slot;    ///< [1], the victim's
};

/// Extents of StepShared's arrays.
struct StepShape {
  int32_t staged, key, codes;
};

HASHEVICT_HOST_DEVICE inline StepShape step_shape(const Layer& layer) {
  const bool queries = probes_queries(layer.rule);
  const int32_t vectors = queries ? 1 + layer.group_size : 1;
  const int32_t staged = vectors < kStagedVectors ? vectors : kStagedVectors;
  const int32_t codes = queries ? vectors : 2;
  return {staged * layer.head_dim, layer.head_dim, codes * code_words(layer.facts.hash_bits)};
}

/// Shared memory of a StepShared.
HASHEVICT_HOST_DEVICE inline int32_t step_bytes(const Layer& layer) {
  const StepShape shape = step_shape(layer);
  return simt::shared_bytes<float>(shape.staged) + simt::shared_bytes<float>(shape.key) +
         simt::shared_bytes<uint32_t>(shape.codes) + simt::shared_bytes<int32_t>(1);
}

HASHEVICT_DEVICE StepShared take_step_shared(simt::SharedMemory& memory, const Layer& layer) {
  const StepShape shape = step_shape(layer);
  const auto staged = memory.take<float>(shape.staged);
  const auto key = memory.take<float>(shape.key);
  const auto codes = memory.take<uint32_t>(shape.codes);
  return {staged, key, codes, memory.take<int32_t>(1)};
}

/// Element `e` of a token's vector: 0 is the key, n the group's query n - 1.
HASHEVICT_DEVICE float input_element(const Layer& layer, const Head& head, const Vectors& q, const Vectors& k,
                                     int64_t token, int32_t vector, int32_t e) {
  const Vectors& x = vector == 0 ? k : q;
  const int64_t index = vector == 0 ? head.kv_head : int64_t{head.kv_head} * layer.group_size + vector - 1;
  return load_element(x.data, x.dtype, token * x.stride[0] + index * x.stride[1] + e * x.stride[2]);
}

/// The same with the centre subtracted: before the products, as the definition wants it.
HASHEVICT_DEVICE float centered(const Layer& layer, const Head& head, int32_t vector, int32_t e, float value) {
  if (head.key_center == nullptr) return value;
  const float* const center = vector == 0 ? head.key_center : head.query_centers + (vector - 1) * layer.head_dim;
  return simt::subtract(value, simt::load(center + e));
}

/// Encodes a token's key into code 0 and, if the rule looks at them, the group's queries into codes 1, 2, ...
/// Ends with a barrier.
template <int32_t kThreads, int32_t kBits>
HASHEVICT_DEVICE void encode_token(const Layer& layer, const Head& head, const Vectors& q, const Vectors& k,
                                   int64_t token, const StepShared& shared) {
  const int32_t num_vectors = probes_queries(layer.rule) ? 1 + layer.group_size : 1;
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    for (int32_t i = simt::thread_index(); i < count * layer.head_dim; i += kThreads) {
      const int32_t e = i % layer.head_dim;
      const int32_t vector = first + i / layer.head_dim;
      const float value = input_element(layer, head, q, k, token, vector, e);
      if (vector == 0) shared.key.store(e, value);
      shared.staged.store(i, centered(layer, head, vector, e, value));
    }
    simt::block_sync();
    for (int32_t unit = simt::warp(); unit < count * kCodeWords<kBits>; unit += kThreads / 32) {
      const int32_t vector = unit / kCodeWords<kBits>;
      const int32_t word = unit % kCodeWords<kBits>;
      const uint32_t bits =
          project_word<kBits>(shared.staged, vector * layer.head_dim, layer.head_dim, head.projection, word);
      if (simt::lane() == 0) shared.codes.store((first + vector) * kCodeWords<kBits> + word, bits);
    }
    simt::block_sync();
  }
}

/// Makes the code of the mean of all keys seen code 1.
template <int32_t kThreads, int32_t kBits>
HASHEVICT_DEVICE void encode_mean(const Layer& layer, const Head& head, const StepShared& shared, int32_t position,
                                  bool store) {
  for (int32_t e = simt::thread_index(); e < layer.head_dim; e += kThreads) {
    const float sum = simt::add(simt::load(head.key_sum + e), shared.key.load(e));
    if (store) simt::store(head.key_sum + e, sum);
    const float mean = simt::divide(sum, static_cast<float>(position + 1));
    shared.staged.store(e, centered(layer, head, 0, e, mean));
  }
  simt::block_sync();
  for (int32_t word = simt::warp(); word < kCodeWords<kBits>; word += kThreads / 32) {
    const uint32_t bits = project_word<kBits>(shared.staged, 0, layer.head_dim, head.projection, word);
    if (simt::lane() == 0) shared.codes.store(kCodeWords<kBits> + word, bits);
  }
  simt::block_sync();
}

/// Makes the bitwise majority of all codes seen code 1. A warp counts 32 bits.
template <int32_t kThreads, int32_t kBits>
HASHEVICT_DEVICE void vote_majority(const Head& head, const StepShared& shared, int32_t position, bool store) {
  static_assert(kThreads >= 128, "one thread a bit");
  const int32_t bit = simt::thread_index();
  if (simt::warp() < kCodeWords<kBits>) {
    bool set = false;
    if (bit < kBits) {
      const auto own = static_cast<int32_t>(shared.codes.load(simt::warp()) >> simt::lane() & 1U);
      const int32_t count = simt::load(head.bit_counts + bit) + own;
      if (store) simt::store(head.bit_counts + bit, count);
      set = 2 * int64_t{count} >= int64_t{position} + 1;
    }
    const uint32_t bits = simt::ballot(simt::kFullMask, set);
    if (simt::lane() == 0) shared.codes.store(kCodeWords<kBits> + simt::warp(), bits);
  }
  simt::block_sync();
}

/// After encode_token(), for rules that measure distances to something of the past: makes it code 1, the new key
/// included. Ends with a barrier.
/// @param store false: the running sums in memory stay as they were
template <int32_t kThreads, class Rule, int32_t kBits>
HASHEVICT_DEVICE void make_probe(const Layer& layer, const Head& head, const StepShared& shared, int32_t position,
                                 bool store) {
  if constexpr (Rule::kProbe == core::Probe::mean_key) {
    encode_mean<kThreads, kBits>(layer, head, shared, position, store);
  } else if constexpr (Rule::kProbe == core::Probe::majority) {
    vote_majority<kThreads, kBits>(head, shared, position, store);
  }
}

/// Calls `visitor(code)` with each code that a rule measures distances to.
template <class Rule, int32_t kBits, class Visitor>
HASHEVICT_DEVICE void for_probes(const Layer& layer, const StepShared& shared, const Visitor& visitor) {
  if constexpr (Rule::kProbe == core::Probe::queries) {
    for (int32_t n = 1; n <= layer.group_size; ++n) visitor(shared_code<kBits>(shared.codes, n));
  } else if constexpr (Rule::kProbe == core::Probe::new_key) {
    visitor(shared_code<kBits>(shared.codes, 0));
  } else if constexpr (Rule::kProbe != core::Probe::none) {
    visitor(shared_code<kBits>(shared.codes, 1));
  }
}

/// A thread's best slot so far; key 0: none.
struct Candidate {
  uint64_t key;
  int32_t slot;
};

/// One number that orders evictable slots: unpinned first, then by score, then the smallest position or slot. Never 0,
/// since no evictable position is the largest there is; never the same for two slots of a head.
HASHEVICT_DEVICE uint64_t eviction_key(const Layer& layer, uint32_t score, int32_t position, int32_t slot,
                                       bool unpinned) {
  const auto tie = static_cast<uint32_t>(INT32_MAX - (layer.oldest_first != 0 ? position : slot));
  return uint64_t{unpinned} << 63 | uint64_t{score} << 31 | tie;
}

/// Slots that a thread scans at a time: their loads are on their way together.
template <class Rule, int32_t kBits>
struct ScannedSlots {
  static constexpr int32_t kCount = 4;
  int32_t positions[kCount];
  uint32_t distances[kCount];
  Code<kBits> codes[kCount];
  typename Rule::Accumulator accumulators[kCount];
};

template <class Rule>
HASHEVICT_DEVICE typename Rule::Accumulator* accumulator_at(const Head& head, int32_t slot) {
  return reinterpret_cast<typename Rule::Accumulator*>(head.accumulators) + slot;
}

/// Loads this thread's next slots of those below `end`, and measures them.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void measure(const Layer& layer, const Head& head, const StepShared& shared, int32_t first,
                              int32_t end, ScannedSlots<Rule, kBits>& slots) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < slots.kCount; ++i) {
    const int32_t slot = first + i * simt::block_threads();
    slots.distances[i] = 0;
    slots.positions[i] = -1;
    slots.codes[i] = {};
    slots.accumulators[i] = {};
    if (slot >= end) continue;
    slots.positions[i] = simt::load(head.positions + slot);
    if constexpr (Rule::kProbe != core::Probe::none) slots.codes[i] = load_code<kBits>(head.codes, slot);
    if constexpr (core::kHasAccumulator<Rule>) slots.accumulators[i] = simt::load(accumulator_at<Rule>(head, slot));
  }
  for_probes<Rule, kBits>(layer, shared, [&](const Code<kBits>& probe) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < slots.kCount; ++i) slots.distances[i] += hamming_distance(slots.codes[i], probe);
  });
}

/// This thread's best candidate among the valid slots of [first_slot, end_slot), which the block's threads divide among
/// them, one after the other. Updates the accumulators of rules that accumulate: a thread's slots are its own.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE Candidate scan(const Layer& layer, const Head& head, const StepShared& shared,
                                const core::StepFacts& facts, int32_t first_slot, int32_t end_slot) {
  using Scanned = ScannedSlots<Rule, kBits>;
  const int32_t time = facts.token_position;
  const int32_t length = time < layer.capacity ? time : layer.capacity;
  const int32_t end = end_slot < length ? end_slot : length;
  Candidate best{0, -1};
  for (int32_t first = first_slot + simt::thread_index(); first < end;
       first += Scanned::kCount * simt::block_threads()) {
    Scanned slots;
    measure<Rule, kBits>(layer, head, shared, first, end, slots);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Scanned::kCount; ++i) {
      const int32_t slot = first + i * simt::block_threads();
      if (slot >= end) continue;
      const int32_t position = slots.positions[i];
      const auto updated = Rule::update(slots.accumulators[i], slots.distances[i], facts);
      if constexpr (Rule::kAccumulates) simt::store(accumulator_at<Rule>(head, slot), updated);
      if (position < layer.num_sink_tokens || position >= time - layer.recent_window) continue;
      const uint32_t score = Rule::score(updated, slots.distances[i], position, facts);
      const uint64_t key = eviction_key(layer, score, position, slot, position >= head.prompt_length);
      if (key > best.key) best = {key, slot};
    }
  }
  return best;
}

/// The slot of the new token, where one block has the whole head: the next one, which no scan looks at, or the
/// victim's, which all scans are done with.
template <int32_t kThreads, class Rule, int32_t kBits>
HASHEVICT_DEVICE int32_t find_slot(const Layer& layer, const Head& head, const StepShared& shared,
                                   const core::StepFacts& facts) {
  const bool full = facts.token_position >= layer.capacity;
  Candidate best{0, -1};
  if (full || Rule::kAccumulates) best = scan<Rule, kBits>(layer, head, shared, facts, 0, layer.capacity);
  if (!full) return facts.token_position;
  const uint64_t winner = simt::block_max<kThreads>(best.key);
  if (winner == 0) return layer.num_sink_tokens;  // cannot be, unless two rows name one sequence
  if (best.key == winner) shared.slot.store(0, best.slot);
  simt::block_sync();
  return shared.slot.load(0);
}

/// What the new token's accumulator starts from.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE core::NewToken new_token(const Layer& layer, const StepShared& shared) {
  core::NewToken token{0, 0.0F};
  if constexpr (Rule::kAccumulates && Rule::kProbe == core::Probe::queries) {
    const Code<kBits> own = shared_code<kBits>(shared.codes, 0);
    for_probes<Rule, kBits>(layer, shared,
                            [&](const Code<kBits>& probe) { token.own_distance += hamming_distance(own, probe); });
  }
  if constexpr (Rule::kNeedsNorm) {
    for (int32_t e = 0; e < layer.head_dim; ++e) {
      const float x = shared.key.load(e);
      token.squared_norm = simt::fma(x, x, token.squared_norm);
    }
  }
  return token;
}

HASHEVICT_DEVICE void store_number(const Numbers<int32_t>& numbers, int64_t token, int32_t kv_head, int32_t value) {
  if (numbers.data == nullptr) return;
  simt::store(numbers.data + token * numbers.stride[0] + kv_head * numbers.stride[1], value);
}

/// One thread overwrites a slot's code, position and accumulator, and tells what it did.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void replace(const Layer& layer, const Head& head, const StepShared& shared,
                              const Numbers<int32_t>& slots, const Numbers<int32_t>& victims, int64_t token,
                              int32_t position, int32_t slot) {
  const int32_t victim = simt::load(head.positions + slot);
  store_number(slots, token, head.kv_head, slot);
  store_number(victims, token, head.kv_head, victim);
  simt::store(head.positions + slot, position);
  store_code(head.codes, slot, shared_code<kBits>(shared.codes, 0));
  if constexpr (core::kHasAccumulator<Rule>) {
    simt::store(accumulator_at<Rule>(head, slot), Rule::start(new_token<Rule, kBits>(layer, shared)));
  }
}

/// Copies a token's vector to a slot: 16 bytes at a time where both ends allow it.
HASHEVICT_DEVICE void store_row(const Layer& layer, const Head& head, const Vectors& input, int64_t token, void* base,
                                int64_t target) {
  const int64_t source = token * input.stride[0] + head.kv_head * input.stride[1];
  const bool dense = input.dtype == layer.kv.dtype && input.stride[2] == 1;
  if (dense && is_aligned(input.data, input.dtype, source) && is_aligned(base, layer.kv.dtype, target)) {
    const int32_t element = size_of(layer.kv.dtype);
    const auto* const from = static_cast<const unsigned char*>(input.data) + source * element;
    auto* const to = static_cast<unsigned char*>(base) + target * element;
    for (int32_t i = simt::thread_index() * 16; i < layer.head_dim * element; i += simt::block_threads() * 16) {
      simt::store16(to + i, simt::load16(from + i));
    }
    return;
  }
  for (int32_t e = simt::thread_index(); e < layer.head_dim; e += simt::block_threads()) {
    if (dense && input.dtype != HASHEVICT_FLOAT32) {  // bits as they are: a NaN would not survive two conversions
      simt::store(static_cast<uint16_t*>(base) + target + e,
                  simt::load_constant(static_cast<const uint16_t*>(input.data) + source + e));
    } else {
      store_element(base, layer.kv.dtype, target + e,
                    load_element(input.data, input.dtype, source + e * input.stride[2]));
    }
  }
}

HASHEVICT_DEVICE void store_rows(const Layer& layer, const Head& head, const Vectors& k, const Vectors& v,
                                 int64_t token, int32_t slot) {
  const int64_t target = head.address(slot);
  store_row(layer, head, k, token, layer.kv.keys, target);
  store_row(layer, head, v, token, layer.kv.values, target);
}

}  // namespace hashevict::kernels
