// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/center.hpp"
#include "kernels/detail/head.cuh"

/// How a prefill treats a row. Only the device knows the counters, so every kernel of the series decides anew. All
/// reach the same decision, because only the last kernel moves the counters.
namespace hashevict::kernels {

/// How the survivors of a row are found.
enum class Plan {
  skip,     ///< the row names no sequence or has no tokens
  refuse,   ///< the sequence's present state rules out an exact result; the state stays as it is
  by_rule,  ///< the rule evicts, token after token
  by_age,   ///< each token replaces the oldest one outside the sinks
  one_shot  ///< survivors are chosen among all candidates at once; nothing has been evicted yet
};

struct PrefillRow {
  int32_t sequence;
  int32_t first_token;
  int32_t num_tokens;
  int32_t before;    ///< tokens that the sequence had seen
  int32_t capacity;  ///< of the head that the plan is for
  Plan plan;
  bool sets_centers;  ///< the sequence's centres are the means of these tokens

  [[nodiscard]] HASHEVICT_DEVICE int32_t total() const { return before + num_tokens; }
};

/// The last tokens whose queries mode WINDOW uses in a head, at most the slots beside the sinks.
HASHEVICT_DEVICE int32_t window_of(const PrefillParams& p, const core::HeadSettings& head) {
  const int32_t most = head.capacity - head.num_sink_tokens;
  return p.window < most ? p.window : most;
}

/// Whether some head cannot select the survivors of a further chunk in mode WINDOW: it has evicted, or the chunk has
/// fewer tokens than its window.
HASHEVICT_DEVICE bool some_head_refuses(const PrefillParams& p, const PrefillRow& row) {
  const Layer& layer = p.evict.layer;
  if (row.before > layer.min_capacity) return true;
  for (int32_t kv_head = 0; kv_head < layer.shape.num_kv_heads; ++kv_head) {
    const core::HeadSettings head = settings_of(layer, kv_head);
    if (row.total() > head.capacity && row.num_tokens < window_of(p, head)) return true;
  }
  return false;
}

/// Whether a row cannot be taken exactly by all heads. Reasons: a further chunk without a centre; mode WINDOW after an
/// eviction, or with fewer tokens than its window; slots without pages.
HASHEVICT_DEVICE bool must_refuse(const PrefillParams& p, const PrefillRow& row) {
  if (row.before > INT32_MAX - row.num_tokens) return true;
  if (!has_pages_for(p.evict.layer, row.sequence, row.before, row.num_tokens)) return true;
  if (row.before == 0) return false;
  const bool given = simt::load(p.evict.layer.state.center_set + row.sequence) == core::kCenterGiven;
  if (p.by_prompt_mean != 0 && !given) return true;
  return p.mode == HASHEVICT_PREFILL_WINDOW && row.total() > p.evict.layer.min_capacity && some_head_refuses(p, row);
}

/// A row, and the plan of one of its heads. All heads refuse it, or none.
HASHEVICT_DEVICE PrefillRow prefill_row(const PrefillParams& p, int32_t index, int32_t kv_head) {
  const Row found = row_of(p.evict.batch, index);
  PrefillRow row{found.sequence, found.first_token, found.num_tokens, 0, 0, Plan::skip, false};
  if (found.sequence < 0 || found.num_tokens == 0) return row;
  const core::StatePointers& state = p.evict.layer.state;
  row.before = simt::load(state.tokens_seen + counter_of(p.evict.layer, row.sequence, kv_head));
  row.capacity = settings_of(p.evict.layer, kv_head).capacity;
  row.sets_centers =
      p.by_prompt_mean != 0 && row.before == 0 && simt::load(state.center_set + row.sequence) == core::kCenterUnset;
  if (must_refuse(p, row)) {
    row.plan = Plan::refuse;
  } else if (row.total() <= row.capacity || p.mode == HASHEVICT_PREFILL_REPLAY) {
    row.plan = Plan::by_rule;
  } else {
    row.plan = p.mode == HASHEVICT_PREFILL_RECENT && row.before > 0 ? Plan::by_age : Plan::one_shot;
  }
  return row;
}

/// Whether a row's tokens enter the cache.
HASHEVICT_DEVICE bool takes_tokens(const PrefillRow& row) {
  return row.plan != Plan::skip && row.plan != Plan::refuse;
}

/// Slots in use by the head afterwards.
HASHEVICT_DEVICE int32_t length_after(const PrefillRow& row) {
  return row.total() < row.capacity ? row.total() : row.capacity;
}

/// The batch token that a slot's key and value come from, or -1. Checked, since positions are wrong where two rows name
/// one sequence.
HASHEVICT_DEVICE int64_t token_of(const PrefillRow& row, int32_t position) {
  const int32_t index = position - row.before;
  return index >= 0 && index < row.num_tokens ? int64_t{row.first_token} + index : -1;
}

/// Code of head `head` of `heads` of a token, among the codes that this launch computed.
HASHEVICT_DEVICE const uint8_t* encoded(const PrefillParams& p, const uint8_t* codes, int64_t token, int32_t heads,
                                        int32_t head) {
  return codes + (token * heads + head) * (p.evict.layer.rule.hash_bits / 8);
}

HASHEVICT_DEVICE const uint8_t* encoded_key(const PrefillParams& p, int64_t token, int32_t kv_head) {
  return encoded(p, p.key_codes, token, p.evict.layer.shape.num_kv_heads, kv_head);
}

HASHEVICT_DEVICE const uint8_t* encoded_query(const PrefillParams& p, int64_t token, int32_t kv_head, int32_t query) {
  const int32_t group = p.evict.layer.shape.group_size;
  return encoded(p, p.query_codes, token, p.evict.layer.shape.num_kv_heads * group, kv_head * group + query);
}

/// Workspace for one number per token of a head's prompt.
HASHEVICT_DEVICE uint32_t* scores_of_tokens(const PrefillParams& p, int32_t kv_head) {
  const Batch& batch = p.evict.batch;
  return p.scores + batch.num_sequences * p.evict.layer.padded_slots + int64_t{kv_head} * batch.tokens;
}

/// Workspace for one number per slot of a head.
HASHEVICT_DEVICE uint32_t* scores_of_slots(const PrefillParams& p, const Head& head) {
  return p.scores + head.sequence * p.evict.layer.padded_slots + head.first_slot;
}

inline constexpr int32_t kForever = INT32_MAX;  ///< death of a key that no step of the call evicts

/// The deaths of a head's keys, in the place of scores, which a replay does not have: the index in the row of the token
/// whose step evicts the key.
struct Deaths {
  uint32_t* of_slots;   ///< of the slots in use before the call
  uint32_t* of_tokens;  ///< of the row's tokens
};

HASHEVICT_DEVICE Deaths deaths_of(const PrefillParams& p, const PrefillRow& row, const Head& head) {
  return {scores_of_slots(p, head), scores_of_tokens(p, head.kv_head) + row.first_token};
}

/// Whether a replay records deaths, for the attention of the call.
HASHEVICT_DEVICE bool records_deaths(const PrefillParams& p) {
  return p.out.data != nullptr && p.streamed != 0;
}

}  // namespace hashevict::kernels
