// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/kv_layout.hpp"
#include "core/layer_settings.hpp"
#include "core/state_parts.hpp"

/// A layer and one of its heads, as both CPU operations and kernels see them. Trivially copyable; pointers refer to
/// memory of the cache's backend.
namespace hashevict::core {

/// The settings and the memory of a layer.
struct Layer : LayerSettings {
  int32_t index;
  Shape shape;
  void* keys;    ///< base pointer of slot addresses
  void* values;  ///< likewise
  KvLayout kv;
  BlockTable table;  ///< its rows alone
  StatePointers state;
};

/// One KV head of one sequence: its slots, its part of each array, and the addresses of its slots. Arrays of the whole
/// layer start at the head's share of them.
struct Head : StatePointers, HeadSettings {
  const Layer* layer;
  int32_t sequence;
  int32_t kv_head;        ///< within this shard
  int32_t prompt_length;  ///< lower positions are pinned: evicted only if no other slot can be; 0 if none is pinned
  SlotAddress address;
};

/// Index of a head's counter among those of a layer.
HASHEVICT_HOST_DEVICE constexpr int64_t counter_of(const Layer& layer, int32_t sequence, int32_t kv_head) {
  return int64_t{sequence} * layer.shape.num_kv_heads + kv_head;
}

/// Index of a head's first item in an array.
HASHEVICT_HOST_DEVICE constexpr int64_t first_item(Scope scope, const Layer& layer, const HeadSettings& own,
                                                   int32_t sequence, int32_t kv_head) {
  switch (scope) {
    case Scope::slot:
      return sequence * layer.padded_slots + own.first_slot;
    case Scope::kv_head:
      return counter_of(layer, sequence, kv_head);
    case Scope::query_head:
      return counter_of(layer, sequence, kv_head) * layer.shape.group_size;
    case Scope::sequence:
      return sequence;
    case Scope::projection:
      return layer.rule.num_projections > 1 ? kv_head : 0;
    case Scope::layer_kv_head:
      return kv_head;
    case Scope::split:
      return own.first_split;
  }
  return 0;
}

/// A KV head of a layer.
/// @param load reads an element of the cache's memory; kernels pass a load of their own
HASHEVICT_EXEC_CHECK_DISABLE
template <class Load = PlainLoad>
HASHEVICT_HOST_DEVICE Head head_of(const Layer& all, int32_t sequence, int32_t kv_head, const Load& load = {}) {
  const LayerSettings& layer = all;  // these two names occur in the list of arrays
  const Shape& shape = all.shape;
  Head head{};
  static_cast<HeadSettings&>(head) = load(all.state.heads + kv_head);
  // A token's tickets, like the lists of a launch, belong to launches instead of heads. An array that does not exist
  // has no elements, so its nullptr stays.
#define HASHEVICT_PART(name, Element, scope, elements, empty, content)                                \
  if constexpr (Content::content != Content::tickets && Content::content != Content::launch) {        \
    head.name = all.state.name + first_item(Scope::scope, all, head, sequence, kv_head) * (elements); \
  }
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
  head.layer = &all;
  head.sequence = sequence;
  head.kv_head = kv_head;
  head.prompt_length = layer.rule.pin_prompt ? load(all.state.prompt_lengths + sequence) : 0;
  head.address = all.kv.address(sequence, head.slots_offset, block_table_row(all.table, sequence, kv_head, load));
  return head;
}

/// Where a head's part of an array starts: an address that grows with the sequence, the head and the slots before the
/// head's.
struct HeadArray {
  uint64_t base;        ///< of the layer's array
  int64_t of_sequence;  ///< bytes, likewise below
  int64_t of_head;
  int64_t of_slot;

  [[nodiscard]] HASHEVICT_HOST_DEVICE uint64_t of(int32_t sequence, int32_t kv_head, int64_t first_slot) const {
    return base + static_cast<uint64_t>(sequence * of_sequence + kv_head * of_head + first_slot * of_slot);
  }
};

/// Those of all arrays, by StatePartIndex: what head_of() computes, for code that takes an array a thread.
struct HeadArrays {
  HeadArray arrays[kNumStateParts];
};

inline HeadArrays head_arrays(const Layer& all) {
  const LayerSettings& layer = all;  // these two names occur in the list of arrays
  const Shape& shape = all.shape;
  const HeadSettings none{};
  HeadSettings behind_a_slot{};
  behind_a_slot.first_slot = 1;
  HeadArrays result{};
  HeadArray* next = result.arrays;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content)                                        \
  {                                                                                                           \
    const int64_t bytes = static_cast<int64_t>(elements) * static_cast<int64_t>(sizeof(Element));             \
    *next++ = {reinterpret_cast<uint64_t>(all.state.name), bytes * first_item(Scope::scope, all, none, 1, 0), \
               bytes * first_item(Scope::scope, all, none, 0, 1),                                             \
               bytes * first_item(Scope::scope, all, behind_a_slot, 0, 0)};                                   \
  }
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
  return result;
}

/// Tokens that a sequence has seen, in memory of the host. Every head has seen the same.
inline int32_t tokens_seen(const Layer& layer, int32_t sequence) {
  return layer.state.tokens_seen[counter_of(layer, sequence, 0)];
}

/// The facts about the step of the token at `position` that rules may use.
HASHEVICT_HOST_DEVICE inline StepFacts step_facts(const Layer& layer, int32_t kv_head, int32_t position) {
  const RuleSettings& rule = layer.rule;
  const int32_t global_head = layer.shape.kv_head_offset + kv_head;
  return {position, rule.hash_bits,
          rule.facts.reads_seed ? random_word(rule.seed, position, layer.index, global_head) : 0};
}

}  // namespace hashevict::core
