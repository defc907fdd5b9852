// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "support/device.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {

/// Capacities of which one is the least that the rule admits, the others one apart and far apart.
inline std::vector<int32_t> ragged_capacities(const Config& config) {
  const int32_t least = config.rule.num_sink_tokens + config.rule.recent_window + 1;
  std::vector<int32_t> capacities;
  for (int32_t i = 0; i < config.shape.num_layers * config.shape.num_kv_heads; ++i) {
    const int32_t choices[] = {least, 3 * config.shape.capacity, config.shape.capacity, config.shape.capacity + 1};
    capacities.push_back(choices[i % 4]);
  }
  return capacities;
}

/// All of the configs; but a third of them where a sanitizer watches kernels that run on the host, which is slow. The
/// thirds of the properties differ, and other builds check each property with all configs.
inline std::vector<Config> in_reasonable_time(std::vector<Config> configs) {
#if defined(HASHEVICT_SANITIZE_ADDRESS) || defined(HASHEVICT_SANITIZE_THREAD)
  if (device::name().empty()) return configs;
  const std::string property = testing::UnitTest::GetInstance()->current_test_info()->name();
  std::size_t place = property.size();
  std::erase_if(configs, [&](const Config&) { return place++ % 3 != 0; });
#endif
  return configs;
}

/// Every rule, and some variants.
inline std::vector<Config> every_rule(const Config& base) {
  std::vector<Config> configs;
  for (const Policy policy : kPolicies) {
    configs.push_back(base);
    configs.back().rule.policy = policy;
  }
  configs.push_back(base);
  configs.back().rule.hash_source = HashSource::key;
  configs.back().rule.tie = Tie::lowest_slot;
  configs.push_back(base);
  configs.back().rule.policy = Policy::importance;
  configs.back().rule.importance_source = ImportanceSource::key;
  configs.back().rule.importance_slopes = 1;
  configs.push_back(base);
  configs.back().rule.pin_prompt = true;
  return configs;
}

/// The configs that each property is checked with.
inline std::vector<Config> configs_of_every_rule(const Config& base) {
  return in_reasonable_time(every_rule(base));
}

/// The same, and some with heads of different capacities.
inline std::vector<Config> configs_with_ragged_heads(const Config& base) {
  std::vector<Config> configs = every_rule(base);
  for (const Policy policy : {Policy::hash, Policy::superseded, Policy::mean}) {
    configs.push_back(base);
    configs.back().rule.policy = policy;
    configs.back().shape.capacities = ragged_capacities(base);
  }
  return in_reasonable_time(std::move(configs));
}

/// Appends an operation's results for further tokens.
inline void join(Outcome& all, const Outcome& more) {
  all.slots.insert(all.slots.end(), more.slots.begin(), more.slots.end());
  all.victims.insert(all.victims.end(), more.victims.begin(), more.victims.end());
  all.out.insert(all.out.end(), more.out.begin(), more.out.end());
  all.lse.insert(all.lse.end(), more.lse.begin(), more.lse.end());
}

/// The attention of replayed prompts that a rule admits.
inline PrefillAttention attention_of_prompts(const Rule& rule) {
  const bool streams = rule.pin_prompt == 0 && rule.centering != Centering::prompt;
  return streams ? PrefillAttention::streamed : PrefillAttention::full;
}

/// All results for one sequence by itself: a prompt, steps, a second chunk of the prompt and more steps.
inline Outcome run_alone(TestCache& cache, int32_t sequence, const Tokens& tokens, std::size_t prompt,
                         std::size_t second) {
  const Config& config = cache.config();
  Options options;
  options.attention = attention_of_prompts(config.rule);
  Outcome all;
  const auto run = [&](Operation operation, std::size_t begin, std::size_t count) {
    join(all, cache.run(operation, {{sequence, slice(config, tokens, begin, count)}}, options).front());
  };
  run(Operation::prefill, 0, prompt);
  run(Operation::decode, prompt, second - prompt);
  run(Operation::prefill, second, 9);
  run(Operation::decode, second + 9, tokens.count - second - 9);
  return all;
}

}  // namespace hashevict::test
