// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "support/test_cache.hpp"

namespace hashevict::test {

/// The rules and a config that each of the properties is checked with.
inline std::vector<Config> configs_of_every_rule(const Config& base) {
  std::vector<Config> configs;
  for (const Policy policy : {Policy::hash, Policy::window, Policy::random, Policy::key_norm, Policy::mean,
                              Policy::majority, Policy::superseded}) {
    configs.push_back(base);
    configs.back().policy = policy;
  }
  configs.push_back(base);
  configs.back().score_decay_shift = 2;
  configs.push_back(base);
  configs.back().hash_source = HashSource::key;
  configs.back().tie = Tie::lowest_slot;
  configs.push_back(base);
  configs.back().pin_prompt = true;
  return configs;
}

/// Appends what an operation told of some more tokens.
inline void join(Outcome& all, const Outcome& more) {
  all.slots.insert(all.slots.end(), more.slots.begin(), more.slots.end());
  all.victims.insert(all.victims.end(), more.victims.begin(), more.victims.end());
  all.out.insert(all.out.end(), more.out.begin(), more.out.end());
  all.lse.insert(all.lse.end(), more.lse.begin(), more.lse.end());
}

/// Prompt, steps, a second chunk of prompt and steps again, of one sequence by itself: everything it was ever told.
inline Outcome run_alone(TestCache& cache, int32_t sequence, const Tokens& tokens, std::size_t prompt,
                         std::size_t second) {
  const Config& config = cache.config();
  Outcome all;
  const auto run = [&](Operation operation, std::size_t begin, std::size_t count) {
    join(all, cache.run(operation, {{sequence, slice(config, tokens, begin, count)}}).front());
  };
  run(Operation::prefill, 0, prompt);
  run(Operation::decode, prompt, second - prompt);
  run(Operation::prefill, second, 9);
  run(Operation::decode, second + 9, tokens.count - second - 9);
  return all;
}

}  // namespace hashevict::test
