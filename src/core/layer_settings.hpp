// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/divisor.hpp"
#include "core/num_parts.hpp"
#include "core/row_format.hpp"
#include "core/rule.hpp"

/// The resolved and validated settings of one layer. Trivially copyable, for host and device.
namespace hashevict::core {

/// The heads that a cache serves, the same for all layers.
struct Shape {
  int32_t num_layers;
  int32_t num_sequences;
  int32_t num_qo_heads;
  int32_t num_kv_heads;
  int32_t head_dim;        ///< a multiple of 8, up to 256
  int32_t group_size;      ///< query heads per KV head
  int32_t kv_head_offset;  ///< global index of KV head 0
  RowFormat format;        ///< of stored keys and values
};

/// The rule of one layer.
struct RuleSettings {
  RuleKind kind;
  RuleFacts facts;
  int32_t policy;       ///< ::hashevict_policy, for messages and snapshots; other code reads `facts`
  int32_t hash_source;  ///< ::hashevict_hash_source; QUERY if the policy does not read it
  int32_t hash_bits;
  int32_t code_bytes;        ///< hash_bits / 8
  bool oldest_first;         ///< ties go to the smallest position; else to the lowest slot
  bool pin_prompt;           ///< positions of the prompt are evicted only if no other slot can be
  int32_t centering;         ///< ::hashevict_centering
  int32_t projection_kind;   ///< ::hashevict_projection_kind
  bool projection_per_head;  ///< a projection for each head; else the heads share one
  int32_t num_projections;   ///< 1 or num_kv_heads
  uint64_t seed;
  bool weighs_keys;        ///< importances are computed from the keys; else the steps bring them, if the rule needs any
  bool importance_slopes;  ///< the steps bring the slopes of importances

  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr bool centered() const { return centering != HASHEVICT_CENTERING_NONE; }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr bool takes_importances() const {
    return facts.needs_importance && !weighs_keys;
  }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr bool learns_projection() const {
    return projection_kind == HASHEVICT_PROJECTION_LEARNED;
  }
};

inline constexpr int32_t kPadding = 64;     ///< slots: whole vectors on any SIMD target, for every code width
inline constexpr int32_t kSplitBits = 8;    ///< a launch divides a head into splits of 2^kSplitBits slots or more
inline constexpr int32_t kMostSplits = 32;  ///< splits of a head: one for each lane of the warp that merges them

/// Binary logarithm of the slots of a head's splits. It depends on the capacity alone, and so do the bits of a result:
/// not on the batch or the device. Long heads have 17 to 32 splits.
HASHEVICT_HOST_DEVICE constexpr int32_t split_bits_of(int32_t capacity) {
  int32_t bits = kSplitBits;
  while ((capacity - 1) >> bits >= kMostSplits) ++bits;
  return bits;
}

/// Splits of `length` slots. No slots count as one split, so that one block writes the result over none.
HASHEVICT_HOST_DEVICE constexpr int32_t splits_of(int32_t length, int32_t split_bits) {
  return length == 0 ? 1 : ((length - 1) >> split_bits) + 1;
}

/// One KV head's slots and protected zones, with fractions resolved, and their place among those of its layer.
/// Counts of other heads are of one sequence.
struct alignas(16) HeadSettings {
  int32_t capacity;
  int32_t num_sink_tokens;
  int32_t recent_window;
  int32_t first_split;   ///< splits of the heads before it
  int64_t first_slot;    ///< slots of the heads before it, padding included
  int64_t slots_offset;  ///< bytes from the sequence's base pointer to slot 0; 0 until the cache has memory

  /// The capacity rounded up, so that scans read whole vectors; padding is never evictable.
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t padded_capacity() const {
    return num_parts(capacity, kPadding) * kPadding;
  }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t split_bits() const { return split_bits_of(capacity); }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t split_slots() const { return 1 << split_bits(); }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t num_splits() const { return splits_of(capacity, split_bits()); }
  /// Valid slots once the head has seen so many tokens.
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t length(int32_t tokens_seen) const {
    return tokens_seen < capacity ? tokens_seen : capacity;
  }
};

/// Some slots of a head, the share of one worker or of one block of a launch.
struct Split {
  int32_t kv_head;
  int32_t index;  ///< within the head
};

/// One layer's rule, and totals over the slots of its heads.
struct LayerSettings {
  RuleSettings rule;
  int32_t min_capacity;  ///< of its KV heads
  int32_t max_capacity;
  Divisor num_splits;    ///< of all heads of one sequence; kernels divide the number of a block by it
  int64_t num_slots;     ///< likewise, without padding
  int64_t padded_slots;  ///< likewise, with padding

  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr bool is_uniform() const { return min_capacity == max_capacity; }
};

}  // namespace hashevict::core
