// SPDX-License-Identifier: Apache-2.0
#include "core/validate_rule.hpp"

#include <cmath>
#include <string>

#include "core/failure.hpp"
#include "core/validate.hpp"

namespace hashevict::core {
namespace {

/// Checks sinks and recent tokens: counts, or fractions of a capacity that is not known here.
void check_zones(const RuleField& given) {
  const hashevict_rule& rule = given.rule;
  require_fraction(given.field("sink_fraction"), rule.sink_fraction);
  require_fraction(given.field("recent_fraction"), rule.recent_fraction);
  int32_t most = kMaxCapacity - 1;  // one slot is left for a victim
  if (rule.sink_fraction < 0.0F) {
    require_in_range(given.field("num_sink_tokens"), rule.num_sink_tokens, 0, most);
    most -= rule.num_sink_tokens;
  }
  if (rule.recent_fraction < 0.0F) require_in_range(given.field("recent_window"), rule.recent_window, 0, most);
}

/// Resolves a count that may be given as a fraction of the capacity. The product is exact in double. It is rounded to
/// fp32 and then down, so that 0.9F of 10, slightly below 9 in binary, gives 9 as written.
int32_t resolve(int32_t count, float fraction, int32_t capacity) {
  if (fraction < 0.0F) return count;
  return static_cast<int32_t>(std::floor(static_cast<float>(static_cast<double>(fraction) * capacity)));
}

/// Slots that a head needs whatever its capacity. A zone given as a fraction counts as none.
int64_t fewest_slots(const hashevict_rule& rule) {
  const int64_t sinks = rule.sink_fraction < 0.0F ? rule.num_sink_tokens : 0;
  const int64_t recent = rule.recent_fraction < 0.0F ? rule.recent_window : 0;
  return sinks + recent + 1;
}

void check_capacity(const hashevict_rule& rule, int32_t capacity, const Field& field) {
  if (rule.sink_fraction >= 0.0F || rule.recent_fraction >= 0.0F) {
    return require_in_range(field, capacity, 1, kMaxCapacity);
  }
  const int64_t fewest = fewest_slots(rule);
  require(capacity >= fewest && capacity <= kMaxCapacity,
          "{} = {}: expected {} to {}, since a victim requires sinks + recent window + 1 = {} + {} + 1 slots",
          text_of(field), capacity, fewest, kMaxCapacity, rule.num_sink_tokens, rule.recent_window);
}

}  // namespace

void validate_rule(const RuleField& given) {
  const hashevict_rule& rule = given.rule;
  require_in_range(given.field("policy"), rule.policy, HASHEVICT_POLICY_HASH, kLastPolicy);
  require_in_range(given.field("hash_source"), rule.hash_source, HASHEVICT_HASH_SOURCE_QUERY,
                   HASHEVICT_HASH_SOURCE_KEY);
  require_in_range(given.field("tie"), rule.tie, HASHEVICT_TIE_OLDEST, HASHEVICT_TIE_LOWEST_SLOT);
  require_in_range(given.field("centering"), rule.centering, HASHEVICT_CENTERING_NONE, HASHEVICT_CENTERING_FIXED);
  require_in_range(given.field("projection_kind"), rule.projection_kind, HASHEVICT_PROJECTION_GAUSSIAN,
                   HASHEVICT_PROJECTION_LEARNED);
  require_in_range(given.field("importance_source"), rule.importance_source, HASHEVICT_IMPORTANCE_SOURCE_GIVEN,
                   HASHEVICT_IMPORTANCE_SOURCE_KEY);
  const int32_t bits = rule.hash_bits;
  require(bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128, "{} = {}: expected 8, 16, 32, 64 or 128",
          text_of(given.field("hash_bits")), bits);
  check_zones(given);
  require_reserved(given.field("reserved"), rule.reserved);
}

std::string rule_name(const Settings& settings, int32_t layer) {
  if (settings.layer_rules.empty()) return "config.rule";
  return "config.layer_rules[" + std::to_string(layer) + ']';
}

RuleSettings resolve_rule(const hashevict_rule& rule, int32_t num_kv_heads) {
  const RuleKind kind = rule_kind(rule.policy, rule.hash_source);
  const bool importance = facts_of(kind).needs_importance;
  // If the policy reads the source, either value of it has a rule.
  const bool reads_source =
      rule_kind(rule.policy, HASHEVICT_HASH_SOURCE_QUERY) != rule_kind(rule.policy, HASHEVICT_HASH_SOURCE_KEY);
  return {.kind = kind,
          .facts = facts_of(kind),
          .policy = rule.policy,
          .hash_source = reads_source ? rule.hash_source : HASHEVICT_HASH_SOURCE_QUERY,
          .hash_bits = rule.hash_bits,
          .code_bytes = rule.hash_bits / 8,
          .oldest_first = rule.tie == HASHEVICT_TIE_OLDEST,
          .pin_prompt = rule.pin_prompt != 0,
          .centering = rule.centering,
          .projection_kind = rule.projection_kind,
          .projection_per_head = rule.projection_per_head != 0,
          .num_projections = rule.projection_per_head != 0 ? num_kv_heads : 1,
          .seed = rule.seed,
          .weighs_keys = importance && rule.importance_source == HASHEVICT_IMPORTANCE_SOURCE_KEY,
          .importance_slopes = importance && rule.importance_slopes != 0};
}

HeadSettings resolve_head(const hashevict_rule& rule, int32_t capacity, const Field& field) {
  check_capacity(rule, capacity, field);
  HeadSettings head{};
  head.capacity = capacity;
  head.num_sink_tokens = resolve(rule.num_sink_tokens, rule.sink_fraction, capacity);
  head.recent_window = resolve(rule.recent_window, rule.recent_fraction, capacity);
  require(int64_t{head.num_sink_tokens} + head.recent_window + 1 <= capacity,
          "{} = {}: expected at least sinks + recent window + 1 = {} + {} + 1, so that a victim always exists",
          text_of(field), capacity, head.num_sink_tokens, head.recent_window);
  return head;
}

}  // namespace hashevict::core
