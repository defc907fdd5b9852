// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/center.hpp"
#include "kernels/detail/head.cuh"

/// What a prefill does with a row. Only the device knows the counters, so every kernel of the series decides it anew,
/// and all agree: counters move in the last one alone.
namespace hashevict::kernels {

/// How a row's survivors are found.
enum class Plan {
  skip,     ///< nobody's row, or one without tokens
  refuse,   ///< it cannot be done exactly in the sequence's present state, which stays as it is
  by_rule,  ///< the rule, token after token
  by_age,   ///< token after token, each in place of the oldest one but the sinks
  one_shot  ///< chosen among all candidates at once; nothing has been evicted yet
};

struct PrefillRow {
  int32_t sequence;
  int32_t first_token;
  int32_t num_tokens;
  int32_t before;  ///< tokens the sequence had seen
  Plan plan;
  bool sets_centers;  ///< the sequence's centres come from these tokens

  [[nodiscard]] HASHEVICT_DEVICE int32_t total() const { return before + num_tokens; }
};

/// Whether a row asks for what cannot be done exactly: a further chunk whose centre nobody has given; by mode WINDOW
/// where something has been evicted, or with fewer tokens than it looks at.
HASHEVICT_DEVICE bool must_refuse(const PrefillParams& p, const PrefillRow& row) {
  if (row.before > INT32_MAX - row.num_tokens) return true;
  if (row.before == 0) return false;
  const bool given = simt::load(p.evict.layer.state.center_set + row.sequence) == core::kCenterGiven;
  if (p.by_prompt_mean != 0 && !given) return true;
  const int32_t capacity = p.evict.layer.capacity;
  if (p.mode != HASHEVICT_PREFILL_WINDOW || row.total() <= capacity) return false;
  return row.before > capacity || row.num_tokens < p.window;
}

HASHEVICT_DEVICE PrefillRow prefill_row(const PrefillParams& p, int32_t index) {
  const Row found = row_of(p.evict.batch, index);
  PrefillRow row{found.sequence, found.first_token, found.num_tokens, 0, Plan::skip, false};
  if (found.sequence < 0 || found.num_tokens == 0) return row;
  const State& state = p.evict.layer.state;
  row.before = simt::load(state.tokens_seen + row.sequence);
  row.sets_centers =
      p.by_prompt_mean != 0 && row.before == 0 && simt::load(state.center_set + row.sequence) == core::kCenterUnset;
  if (must_refuse(p, row)) {
    row.plan = Plan::refuse;
  } else if (row.total() <= p.evict.layer.capacity || p.mode == HASHEVICT_PREFILL_REPLAY) {
    row.plan = Plan::by_rule;
  } else {
    row.plan = p.mode == HASHEVICT_PREFILL_RECENT && row.before > 0 ? Plan::by_age : Plan::one_shot;
  }
  return row;
}

/// Whether a row's tokens are taken in.
HASHEVICT_DEVICE bool takes_tokens(const PrefillRow& row) {
  return row.plan != Plan::skip && row.plan != Plan::refuse;
}

/// Slots that a row's sequence holds afterwards.
HASHEVICT_DEVICE int32_t length_after(const PrefillParams& p, const PrefillRow& row) {
  return row.total() < p.evict.layer.capacity ? row.total() : p.evict.layer.capacity;
}

/// The token of the batch that a slot's key and value come from, or -1. Checked, since positions are wrong where two
/// rows name one sequence.
HASHEVICT_DEVICE int64_t token_of(const PrefillRow& row, int32_t position) {
  const int32_t index = position - row.before;
  return index >= 0 && index < row.num_tokens ? int64_t{row.first_token} + index : -1;
}

/// Code of head `head` of `heads` of a token, in what the launch has encoded.
HASHEVICT_DEVICE const uint8_t* encoded(const PrefillParams& p, const uint8_t* codes, int64_t token, int32_t heads,
                                        int32_t head) {
  return codes + (token * heads + head) * (p.evict.layer.facts.hash_bits / 8);
}

HASHEVICT_DEVICE const uint8_t* encoded_key(const PrefillParams& p, int64_t token, int32_t kv_head) {
  return encoded(p, p.key_codes, token, p.evict.layer.num_kv_heads, kv_head);
}

HASHEVICT_DEVICE const uint8_t* encoded_query(const PrefillParams& p, int64_t token, int32_t kv_head, int32_t query) {
  const int32_t group = p.evict.layer.group_size;
  return encoded(p, p.query_codes, token, p.evict.layer.num_kv_heads * group, kv_head * group + query);
}

/// Where the launch notes a number of each token of a head's prompt, for its own use.
HASHEVICT_DEVICE uint32_t* scores_of_tokens(const PrefillParams& p, int32_t kv_head) {
  const int64_t slots = int64_t{p.evict.batch.num_sequences} * p.evict.layer.padded_capacity;
  return p.scores + kv_head * (slots + p.evict.batch.tokens) + slots;
}

/// And of each slot.
HASHEVICT_DEVICE uint32_t* scores_of_slots(const PrefillParams& p, int32_t sequence, int32_t kv_head) {
  const int64_t slots = int64_t{p.evict.batch.num_sequences} * p.evict.layer.padded_capacity;
  return p.scores + kv_head * (slots + p.evict.batch.tokens) + int64_t{sequence} * p.evict.layer.padded_capacity;
}

}  // namespace hashevict::kernels
