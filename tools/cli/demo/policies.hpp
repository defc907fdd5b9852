// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <hashevict/config.hpp>
#include <hashevict/status.hpp>
#include <string>
#include <string_view>

#include "engine/config.hpp"

namespace hashevict::cli {

/// The cache that holds every token: the reference for all others.
inline constexpr std::string_view kFull = "full";

/// A cache that the demo compares.
struct DemoPolicy {
  std::string_view name, description;  ///< what it evicts, in a few words
  void (*configure)(Config& config);   ///< changes a config of the preset `paper`
};

inline constexpr std::array<DemoPolicy, 6> kDemoPolicies = {{
    {kFull, "every token kept", [](Config& c) { c.rule.policy = Policy::window; }},
    {"paper", "HashEvict: farthest from the current queries, 16 bits", [](Config& c) { c.rule = Rule{Preset::paper}; }},
    {"superseded", "closest to a later key, 64 bits, half of the budget recent",
     [](Config& c) { c.rule = Rule{Preset::superseded}; }},
    {"recall", "fewest learned votes that a later query will want it, 32 bits, half recent",
     [](Config& c) { c.rule = Rule{Preset::recall}; }},
    {"window", "sinks and the most recent", [](Config& c) { c.rule.policy = Policy::window; }},
    {"random", "evicts at random", [](Config& c) { c.rule.policy = Policy::random; }},
}};

/// @throws Error for another name
constexpr const DemoPolicy& demo_policy(std::string_view name) {
  for (const DemoPolicy& policy : kDemoPolicies) {
    if (policy.name == name) return policy;
  }
  throw Error(Status::invalid_argument, "'" + std::string(name) + "' is not a policy of the demo");
}

/// The bounded caches that the demo compares, all but `full` at every budget.
inline constexpr std::array<std::string_view, 5> kPolicies = {"paper", "superseded", "recall", "window", "random"};

/// The budgets that the demo compares, as fractions of the tokens seen.
inline constexpr std::array kBudgets = {0.7, 0.5, 0.3};

/// Returns the config of a cache for one sequence under a policy, keys and values as bfloat16.
/// @param capacity slots per KV head; for `full` the number of tokens to come
/// @throws Error for another name
Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed);

/// Bytes that a cache keeps for every KV head. Keys and values count as bfloat16.
struct KeptBytes {
  int64_t slot = 0;  ///< key, value, and the rule's data of a slot
  int64_t head = 0;  ///< the rule's data of a head

  /// The bytes of a cache that never evicts: keys and values alone.
  static KeptBytes of_full(const Config& config);
  /// The bytes of a cache under a config's rule.
  static KeptBytes of_rule(const Config& config);
  /// Returns the bytes of all layers and heads.
  uint64_t total(const Config& config) const;
};

/// Returns the bytes of a cache of policy_config().
uint64_t kv_bytes(std::string_view policy, const Config& config);

}  // namespace hashevict::cli
