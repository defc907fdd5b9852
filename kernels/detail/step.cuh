// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/detail/head.cuh"

/// The parts of a token's step: its codes, the probe, the slot it goes to, and the update of that slot. All threads of
/// a block call each function unless its comment says otherwise.
namespace hashevict::kernels {

inline constexpr int32_t kStagedVectors = 8;  ///< vectors encoded at a time

/// A block's arrays in shared memory.
struct StepShared {
  simt::SharedArray<float> staged;      ///< [staged vectors, head_dim], centred
  simt::SharedArray<float> key;         ///< [head_dim], as given
  simt::SharedArray<uint32_t> codes;    ///< [1 + probes, code words]: the key's, then the queries' or the probe's
  simt::SharedArray<float> importance;  ///< [2], the key's: value and slope
  simt::SharedArray<int32_t> slot;      ///< [1], the victim's
};

/// Extents of StepShared's arrays that depend on the layer.
struct StepShape {
  int32_t staged, key, codes;
};

HASHEVICT_HOST_DEVICE inline StepShape step_shape(const Layer& layer) {
  const bool queries = layer.rule.facts.needs_queries;
  const int32_t vectors = queries ? 1 + layer.shape.group_size : 2;
  const int32_t staged = vectors < kStagedVectors ? vectors : kStagedVectors;
  const int32_t codes = vectors;
  return {staged * layer.shape.head_dim, layer.shape.head_dim, codes * code_words(layer.rule.hash_bits)};
}

/// Shared memory that a StepShared takes.
HASHEVICT_HOST_DEVICE inline int32_t step_bytes(const Layer& layer) {
  const StepShape shape = step_shape(layer);
  return simt::shared_bytes<float>(shape.staged) + simt::shared_bytes<float>(shape.key) +
         simt::shared_bytes<uint32_t>(shape.codes) + simt::shared_bytes<float>(2) + simt::shared_bytes<int32_t>(1);
}

HASHEVICT_DEVICE StepShared take_step_shared(simt::SharedMemory& memory, const Layer& layer) {
  const StepShape shape = step_shape(layer);
  const auto importance = memory.take<float>(2);  // arrays of constant extent first: their addresses are constant, too
  const auto slot = memory.take<int32_t>(1);
  const auto key = memory.take<float>(shape.key);
  const auto codes = memory.take<uint32_t>(shape.codes);
  return {memory.take<float>(shape.staged), key, codes, importance, slot};
}

/// Element `e` of a token's vector: 0 is the key, n the group's query n - 1.
HASHEVICT_DEVICE float input_element(const Layer& layer, const Head& head, const Vectors& q, const Vectors& k,
                                     int64_t token, int32_t vector, int32_t e) {
  const Vectors& x = vector == 0 ? k : q;
  const int64_t index = vector == 0 ? head.kv_head : int64_t{head.kv_head} * layer.shape.group_size + vector - 1;
  return load_element(x.data, x.dtype, token * x.stride[0] + index * x.stride[1] + e * x.stride[2]);
}

/// The element with the centre subtracted, before the products, as the definition demands.
HASHEVICT_DEVICE float centered(const Layer& layer, const Head& head, int32_t vector, int32_t e, float value) {
  if (head.key_centers == nullptr) return value;
  const float* const center = vector == 0 ? head.key_centers : head.query_centers + (vector - 1) * layer.shape.head_dim;
  return simt::subtract(value, simt::load(center + e));
}

/// The importance of a key by weights: one fma per element in increasing index, from 0, then the bias is added.
/// @param load_key (first, values) loads eight elements of the key
template <class LoadKey>
HASHEVICT_DEVICE float weigh_key(const float* weights, int32_t head_dim, const LoadKey& load_key) {
  constexpr int32_t kMany = 8;  // divides head_dim
  float sum = 0.0F;
  for (int32_t first = 0; first < head_dim; first += kMany) {
    float w[kMany];  // their loads are in flight together
    float key[kMany];
    load_key(first, key);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kMany; ++i) w[i] = simt::load(weights + first + i);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kMany; ++i) sum = simt::fma(w[i], key[i], sum);
  }
  return simt::add(sum, simt::load(weights + head_dim));
}

/// The importance that a token brings.
HASHEVICT_DEVICE core::Importance given_importance(const EvictParams& p, int32_t kv_head, int64_t token) {
  const auto number = [&](const Numbers<const float>& all) {
    return all.data == nullptr ? 0.0F : simt::load(all.data + token * all.stride[0] + kv_head * all.stride[1]);
  };
  return {number(p.importance), number(p.importance_slope)};
}

/// One thread stages the importance of the token whose key is in shared memory.
HASHEVICT_DEVICE void stage_importance(const EvictParams& p, const Head& head, int64_t token,
                                       const StepShared& shared) {
  core::Importance importance = given_importance(p, head.kv_head, token);
  if (p.layer.rule.weighs_keys) {
    importance.value = weigh_key(head.importance_weights, p.layer.shape.head_dim,
                                 [&](int32_t e, float(&key)[8]) { shared.key.load_many(e, key); });
  }
  shared.importance.store(0, importance.value);
  shared.importance.store(1, importance.slope);
}

/// Encodes a token's key into code 0 and, if the rule's probe is the queries, the group's queries into codes 1, 2, ...
/// Finds the key's importance, if the rule needs it. Ends with a barrier.
template <int32_t kThreads, int32_t kBits>
HASHEVICT_DEVICE void encode_token(const EvictParams& p, const Head& head, int64_t token, const StepShared& shared) {
  const Layer& layer = p.layer;
  const int32_t num_vectors = layer.rule.facts.needs_queries ? 1 + layer.shape.group_size : 1;
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    for (int32_t i = simt::thread_index(); i < count * layer.shape.head_dim; i += kThreads) {
      const int32_t e = i % layer.shape.head_dim;
      const int32_t vector = first + i / layer.shape.head_dim;
      const float value = input_element(layer, head, p.q, p.k, token, vector, e);
      if (vector == 0) shared.key.store(e, value);
      shared.staged.store(i, centered(layer, head, vector, e, value));
    }
    simt::block_sync();
    for (int32_t unit = simt::warp(); unit < count * kCodeWords<kBits>; unit += kThreads / 32) {
      const int32_t vector = unit / kCodeWords<kBits>;
      const int32_t word = unit % kCodeWords<kBits>;
      const uint32_t bits = project_word<kBits>(shared.staged, vector * layer.shape.head_dim, layer.shape.head_dim,
                                                head.projection, word);
      if (simt::lane() == 0) shared.codes.store((first + vector) * kCodeWords<kBits> + word, bits);
    }
    if (first == 0 && layer.rule.facts.needs_importance && simt::thread_index() == kThreads - 1) {
      stage_importance(p, head, token, shared);  // while other warps encode
    }
    simt::block_sync();
  }
}

/// Encodes the mean of all keys seen into code 1.
template <int32_t kThreads, int32_t kBits>
HASHEVICT_DEVICE void encode_mean(const Layer& layer, const Head& head, const StepShared& shared, int32_t position,
                                  bool store) {
  for (int32_t e = simt::thread_index(); e < layer.shape.head_dim; e += kThreads) {
    const float sum = simt::add(simt::load(head.key_sums + e), shared.key.load(e));
    if (store) simt::store(head.key_sums + e, sum);
    const float mean = simt::divide(sum, static_cast<float>(position + 1));
    shared.staged.store(e, centered(layer, head, 0, e, mean));
  }
  simt::block_sync();
  for (int32_t word = simt::warp(); word < kCodeWords<kBits>; word += kThreads / 32) {
    const uint32_t bits = project_word<kBits>(shared.staged, 0, layer.shape.head_dim, head.projection, word);
    if (simt::lane() == 0) shared.codes.store(kCodeWords<kBits> + word, bits);
  }
  simt::block_sync();
}

/// After encode_token(), for rules whose probe is the mean of all keys, the new one included: encodes it into code 1.
/// Ends with a barrier.
/// @param store false: the running sums in memory stay unchanged
template <int32_t kThreads, class Rule, int32_t kBits>
HASHEVICT_DEVICE void make_probe(const Layer& layer, const Head& head, const StepShared& shared, int32_t position,
                                 bool store) {
  if constexpr (Rule::kProbe == core::Probe::mean_key) {
    encode_mean<kThreads, kBits>(layer, head, shared, position, store);
  }
}

/// Calls `visitor(code)` with each code that a rule measures distances to.
template <class Rule, int32_t kBits, class Visitor>
HASHEVICT_DEVICE void for_probes(const Layer& layer, const StepShared& shared, const Visitor& visitor) {
  if constexpr (Rule::kProbe == core::Probe::queries) {
    for (int32_t n = 1; n <= layer.shape.group_size; ++n) visitor(shared_code<kBits>(shared.codes, n));
  } else if constexpr (Rule::kProbe == core::Probe::new_key) {
    visitor(shared_code<kBits>(shared.codes, 0));
  } else if constexpr (Rule::kProbe == core::Probe::mean_key) {
    visitor(shared_code<kBits>(shared.codes, 1));
  } else if constexpr (Rule::kProbe == core::Probe::zero) {
    visitor(Code<kBits>{});
  }
}

/// A thread's best slot so far; key 0 means none.
struct Candidate {
  uint64_t key;
  int32_t slot;
};

/// A number that orders evictable slots: unpinned first, then by score, then by the smallest position or slot. It is
/// positive, since no evictable position is the largest possible one. Two slots of a head have different keys.
HASHEVICT_DEVICE uint64_t eviction_key(const Layer& layer, uint32_t score, int32_t position, int32_t slot,
                                       bool unpinned) {
  const auto tie = static_cast<uint32_t>(INT32_MAX - (layer.rule.oldest_first ? position : slot));
  return uint64_t{unpinned} << 63 | uint64_t{score} << 31 | tie;
}

/// Slots that a thread scans at a time; their loads are in flight together.
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

/// The importance of the key in a slot.
HASHEVICT_DEVICE core::Importance importance_at(const Head& head, int32_t slot) {
  return {simt::load(head.importances + slot),
          head.importance_slopes == nullptr ? 0.0F : simt::load(head.importance_slopes + slot)};
}

HASHEVICT_DEVICE void store_importance(const Head& head, int32_t slot, const core::Importance& importance) {
  simt::store(head.importances + slot, importance.value);
  if (head.importance_slopes != nullptr) simt::store(head.importance_slopes + slot, importance.slope);
}

/// Loads this thread's next slots below `end` and measures their distances.
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
    if constexpr (core::kReadsImportance<Rule>) slots.accumulators[i] = importance_at(head, slot);
  }
  for_probes<Rule, kBits>(layer, shared, [&](const Code<kBits>& probe) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < slots.kCount; ++i) slots.distances[i] += hamming_distance(slots.codes[i], probe);
  });
}

/// This thread's best candidate among the valid slots of [first_slot, end_slot). The block's threads take slots in
/// turn. Updates the accumulators of rules that accumulate; a thread's slots are its own.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE Candidate scan(const Layer& layer, const Head& head, const StepShared& shared,
                                const core::StepFacts& facts, int32_t first_slot, int32_t end_slot) {
  using Scanned = ScannedSlots<Rule, kBits>;
  const int32_t time = facts.token_position;
  const int32_t length = time < head.capacity ? time : head.capacity;
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
      auto accumulator = slots.accumulators[i];
      if constexpr (Rule::kAccumulates) {
        accumulator = Rule::update(accumulator, slots.distances[i], facts);
        simt::store(accumulator_at<Rule>(head, slot), accumulator);
      }
      if (position < head.num_sink_tokens || position >= time - head.recent_window) continue;
      const uint32_t score = Rule::score(accumulator, slots.distances[i], position, facts);
      const uint64_t key = eviction_key(layer, score, position, slot, position >= head.prompt_length);
      if (key > best.key) best = {key, slot};
    }
  }
  return best;
}

/// The slot of the new token, where one block has the whole head: the next free slot, which no scan looks at, or the
/// victim's, which all scans have passed.
template <int32_t kThreads, class Rule, int32_t kBits>
HASHEVICT_DEVICE int32_t find_slot(const Layer& layer, const Head& head, const StepShared& shared,
                                   const core::StepFacts& facts) {
  const bool full = facts.token_position >= head.capacity;
  Candidate best{0, -1};
  if (full || Rule::kAccumulates) best = scan<Rule, kBits>(layer, head, shared, facts, 0, head.capacity);
  if (!full) return facts.token_position;
  const uint64_t winner = simt::block_max<kThreads>(best.key);
  if (winner == 0) return head.num_sink_tokens;  // only if two rows name one sequence, or a forged state was loaded
  if (best.key == winner) shared.slot.store(0, best.slot);
  simt::block_sync();
  return shared.slot.load(0);
}

HASHEVICT_DEVICE void store_number(const Numbers<int32_t>& numbers, int64_t token, int32_t kv_head, int32_t value) {
  if (numbers.data == nullptr) return;
  simt::store(numbers.data + token * numbers.stride[0] + kv_head * numbers.stride[1], value);
}

/// One thread overwrites a slot's position, and reports the slot and the victim.
HASHEVICT_DEVICE void replace_position(const EvictParams& p, const Head& head, int64_t token, int32_t position,
                                       int32_t slot) {
  const int32_t victim = simt::load(head.positions + slot);
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    const Numbers<int32_t> numbers = i == 0 ? p.slots : p.victims;
    store_number(numbers, token, head.kv_head, i == 0 ? slot : victim);
  }
  simt::store(head.positions + slot, position);
}

/// One thread overwrites a slot's accumulator and importance.
template <class Rule>
HASHEVICT_DEVICE void replace_accumulator(const Head& head, const StepShared& shared, int32_t slot) {
  if constexpr (core::kHasAccumulator<Rule>) {
    simt::store(accumulator_at<Rule>(head, slot), Rule::start());
  }
  if constexpr (core::kReadsImportance<Rule>) {
    store_importance(head, slot, {shared.importance.load(0), shared.importance.load(1)});
  }
}

/// One thread overwrites a slot's code, position, accumulator and importance, and reports the slot and the victim.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void replace(const EvictParams& p, const Head& head, const StepShared& shared, int64_t token,
                              int32_t position, int32_t slot) {
  replace_position(p, head, token, position, slot);
  store_code(head.codes, slot, shared_code<kBits>(shared.codes, 0));
  replace_accumulator<Rule>(head, shared, slot);
}

/// Copies a token's key and value to the rows of a slot, an element a thread.
HASHEVICT_DEVICE void store_rows(const Layer& layer, const Head& head, const Vectors& k, const Vectors& v,
                                 int64_t token, int32_t slot) {
  const core::RowFormat& format = layer.shape.format;
  const int64_t target = head.address(slot);
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    const Vectors input = i == 0 ? k : v;
    void* const row = static_cast<unsigned char*>(i == 0 ? layer.keys : layer.values) + target;
    const int64_t source = token * input.stride[0] + head.kv_head * input.stride[1];
    HASHEVICT_NO_UNROLL
    for (int32_t e = simt::thread_index(); e < layer.shape.head_dim; e += simt::block_threads()) {
      const int64_t from = source + e * input.stride[2];
      const DType given = simt::varying(input.dtype);
      if (given == format.dtype && given != DType::float32) {  // bits: a NaN would not survive two conversions
        simt::store(static_cast<uint16_t*>(row) + e, simt::load(static_cast<const uint16_t*>(input.data) + from));
      } else {
        store_element(row, format.dtype, e, load_element(input.data, given, from));
      }
    }
  }
}

}  // namespace hashevict::kernels
