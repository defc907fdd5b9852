// SPDX-License-Identifier: Apache-2.0
#include "core/presets.hpp"

#include "core/bounds.hpp"

namespace hashevict::core {
namespace {

hashevict_rule paper() {
  hashevict_rule rule{};
  rule.policy = HASHEVICT_POLICY_HASH;
  rule.hash_bits = 16;
  rule.hash_source = HASHEVICT_HASH_SOURCE_QUERY;
  rule.tie = HASHEVICT_TIE_OLDEST;
  rule.num_sink_tokens = 4;
  rule.recent_window = 10;
  rule.sink_fraction = -1.0F;
  rule.recent_fraction = -1.0F;
  rule.centering = HASHEVICT_CENTERING_NONE;
  rule.projection_kind = HASHEVICT_PROJECTION_GAUSSIAN;
  return rule;
}

hashevict_rule authors() {
  hashevict_rule rule = paper();
  rule.hash_source = HASHEVICT_HASH_SOURCE_KEY;
  rule.tie = HASHEVICT_TIE_LOWEST_SLOT;
  return rule;
}

hashevict_rule superseded() {
  hashevict_rule rule = paper();
  rule.policy = HASHEVICT_POLICY_SUPERSEDED;
  rule.hash_bits = 64;
  rule.recent_fraction = 0.5F;
  return rule;
}

hashevict_rule recall() {
  hashevict_rule rule = paper();
  rule.policy = HASHEVICT_POLICY_VOTES;
  rule.hash_bits = 32;
  rule.recent_fraction = 0.5F;
  rule.centering = HASHEVICT_CENTERING_FIXED;
  rule.projection_kind = HASHEVICT_PROJECTION_LEARNED;
  rule.projection_per_head = 1;
  return rule;
}

}  // namespace

hashevict_rule preset_rule(int32_t preset) {
  require_one_of({"", "preset"}, preset,
                 {{"PAPER", HASHEVICT_PRESET_PAPER},
                  {"AUTHORS", HASHEVICT_PRESET_AUTHORS},
                  {"SUPERSEDED", HASHEVICT_PRESET_SUPERSEDED},
                  {"RECALL", HASHEVICT_PRESET_RECALL}});
  if (preset == HASHEVICT_PRESET_AUTHORS) return authors();
  if (preset == HASHEVICT_PRESET_SUPERSEDED) return superseded();
  if (preset == HASHEVICT_PRESET_RECALL) return recall();
  return paper();
}

hashevict_config default_config() {
  hashevict_config config{};
  config.shape.num_sequences = 1;
  config.shape.dtype = HASHEVICT_BFLOAT16;
  config.rule = paper();
  config.placement.page_size = 16;
  return config;
}

}  // namespace hashevict::core
