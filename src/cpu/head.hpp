// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"
#include "core/step.hpp"
#include "core/storage.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// One head of one sequence of one layer: pointers to its part of the state.
struct Head {
  const core::Storage* storage;
  const core::LayerSettings* shape;
  core::StepFacts facts;  ///< token_position is set by each step
  int32_t sequence;
  int32_t kv_head;        ///< within this shard
  int32_t prompt_length;  ///< positions below it are pinned; 0: nothing is
  uint8_t* codes;
  int32_t* positions;
  uint8_t* accumulators;
  float* key_sum;
  int32_t* bit_counts;
  float* key_center;
  float* query_centers;  ///< [group, head_dim]
  const float* projection;
  void* keys;
  void* values;
  core::SlotAddress address;

  [[nodiscard]] const core::Settings& settings() const { return storage->settings; }
  [[nodiscard]] const hashevict_config& config() const { return storage->settings.config; }
};

Head make_head(const core::Storage& storage, int32_t layer, int32_t sequence, int32_t kv_head);

/// One token as its step sees it.
struct Token {
  int32_t position;
  const float* key;            ///< [head_dim], fp32, as given
  const uint8_t* key_code;     ///< [code_bytes]
  const uint8_t* query_codes;  ///< [group, code_bytes], or nullptr for rules that do not look at queries
};

/// Where a token went, and whose place it took (-1: nobody's).
struct Placement {
  int32_t slot;
  int32_t victim;
};

/// How the victim of a full cache is chosen.
enum class Choice {
  rule,   ///< by the config's rule
  oldest  ///< the oldest but the sinks: prefill mode RECENT
};

/// Takes one token into the head's codes, positions, accumulators and running probes: all of a decode step but the
/// key, the value and the sequence's counters.
Placement place_token(const Head& head, const Token& token, const Scratch& scratch, Choice choice);

/// Stores a token's key and value in a slot.
void store_rows(const Head& head, const core::Step& step, int64_t token, int32_t slot, const Scratch& scratch);

/// Loads and encodes tokens [first, first + count) of a step for one head, count <= kEncodeTokens: their keys and,
/// `with_queries`, the group's queries, into scratch.rows and scratch.codes.
void encode_tokens(const Head& head, const core::Step& step, int64_t first, int32_t count, bool with_queries,
                   const Scratch& scratch);

/// Token `index` of the block that encode_tokens() left in `scratch`.
Token encoded_token(const Head& head, int32_t position, int32_t index, bool with_queries, const Scratch& scratch);

/// Adds a key to the running mean or majority of a head, for rules that have one.
void add_to_probe(const Head& head, const float* key, const uint8_t* key_code);

/// What a new token's accumulator starts from.
core::NewToken new_token(const Head& head, const Token& token);

/// Writes the starting accumulator of a slot.
void start_accumulator(const Head& head, int32_t slot, const core::NewToken& token);

}  // namespace hashevict::cpu
