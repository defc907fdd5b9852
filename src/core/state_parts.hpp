// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/layer_settings.hpp"

/// The arrays of a layer's state. One list generates their layout, size, reset, fork, snapshot and the pointers that
/// operations and kernels receive. A new array is one line in HASHEVICT_STATE_PARTS.
namespace hashevict::core {

/// The items of an array.
enum class Scope {
  slot,        ///< [num_sequences, padded_slots]: each head's slots in turn, padded
  kv_head,     ///< [num_sequences, num_kv_heads]
  query_head,  ///< [num_sequences, num_qo_heads]
  sequence,    ///< [num_sequences]
  // These belong to the layer, so reset, fork and snapshots skip them.
  projection,     ///< [num_projections]
  layer_kv_head,  ///< [num_kv_heads]
  split           ///< [num_splits]
};

/// The treatment of an array by reset, fork and snapshots.
enum class Content {
  plain,      ///< forked, saved and loaded
  positions,  ///< likewise; a load requires values below tokens_seen
  centers,    ///< likewise; a load requires finite values if a caller set them
  counter,    ///< forked; a snapshot stores it in the layer's header
  per_head,   ///< a counter that has one value for each head; a snapshot derives it from the layer's header
  tickets,    ///< counters of launches; exists on devices only and is empty between launches
  parameter,  ///< set by construction or the caller
  launch      ///< set by construction; exists on devices only
};

/// PART(name, element type, Scope, elements of one item, or 0 if the array does not exist, byte value of an empty item,
/// Content). The number of elements may depend on `shape` and on `layer`, the layer's settings.
#define HASHEVICT_STATE_PARTS(PART)                                                                           \
  PART(codes, uint8_t, slot, layer.rule.code_bytes, 0x00, plain)                                              \
  PART(positions, int32_t, slot, 1, 0xFF, positions) /* -1: empty */                                          \
  PART(accumulators, uint8_t, slot, layer.rule.facts.accumulator_bytes, 0x00, plain)                          \
  PART(importances, float, slot, layer.rule.facts.needs_importance ? 1 : 0, 0x00, plain)                      \
  PART(importance_slopes, float, slot, layer.rule.importance_slopes ? 1 : 0, 0x00, plain)                     \
  PART(key_sums, float, kv_head, layer.rule.facts.needs_key_sums ? shape.head_dim : 0, 0x00, plain)           \
  PART(key_centers, float, kv_head, layer.rule.centered() ? shape.head_dim : 0, 0x00, centers)                \
  PART(query_centers, float, query_head, layer.rule.centered() ? shape.head_dim : 0, 0x00, centers)           \
  PART(lengths, int32_t, kv_head, 1, 0x00, per_head)        /* valid slots */                                 \
  PART(tokens_seen, int32_t, kv_head, 1, 0x00, per_head)    /* the position of the next token */              \
  PART(prompt_lengths, int32_t, sequence, 1, 0x00, counter) /* tokens seen when the last prefill ended */     \
  PART(center_set, int32_t, sequence, 1, 0x00, counter)     /* a CenterOrigin */                              \
  PART(tickets, uint32_t, kv_head, 2, 0x00, tickets)        /* of the splits; of the counters */              \
  PART(token_tickets, uint32_t, kv_head, 1, 0x00, tickets)  /* of attend: a token takes a sequence's place */ \
  PART(projection, float, projection, int64_t{8} * layer.rule.code_bytes * shape.head_dim, 0x00,              \
       parameter) /* [dim, bits] */                                                                           \
  PART(importance_weights, float, layer_kv_head, layer.rule.weighs_keys ? shape.head_dim + 1 : 0, 0x00,       \
       parameter) /* of the elements, then the bias */                                                        \
  PART(heads, HeadSettings, layer_kv_head, 1, 0x00, parameter)                                                \
  PART(splits, Split, split, 1, 0x00, launch) /* every split of every head, head by head */

/// The start of each array of a layer, or of one of its heads; nullptr if the array does not exist.
struct StatePointers {
#define HASHEVICT_PART(name, Element, scope, elements, empty, content) Element* name;
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
};

/// The index of each array in the list.
enum class StatePartIndex : std::size_t {
#define HASHEVICT_PART(name, Element, scope, elements, empty, content) name,
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
      count
};
inline constexpr auto kNumStateParts = static_cast<std::size_t>(StatePartIndex::count);

/// One array of one layer.
struct StatePart {
  const char* name;
  Scope scope;
  int64_t item_bytes;  ///< 0 if the array does not exist
  int64_t items;       ///< of one sequence, or of the layer if it belongs to that
  unsigned char empty;
  Content content;
  std::byte* base;  ///< nullptr until the state has memory

  [[nodiscard]] int64_t bytes() const { return item_bytes * items; }
  [[nodiscard]] bool of_sequences() const { return scope < Scope::projection; }
  /// Whether a fork copies it; if not, it is empty in the fork.
  [[nodiscard]] bool is_forked() const { return of_sequences() && content != Content::tickets; }
  /// The part of one sequence, bytes() long.
  [[nodiscard]] std::byte* of(int32_t sequence) const { return base + sequence * bytes(); }
};

/// All arrays of a layer, in the order of the list.
using StateParts = std::array<StatePart, kNumStateParts>;

}  // namespace hashevict::core
