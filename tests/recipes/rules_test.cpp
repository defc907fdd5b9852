// SPDX-License-Identifier: Apache-2.0
// Policies added by CONTRIBUTING's recipe, for each probe one with an accumulator and one without. They go through
// every operation, prompt mode, snapshot and arrangement of memory, against the oracle.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "support/twins.hpp"

namespace hashevict::test {
namespace {

struct Case {
  Backend backend;
  Policy policy;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (auto policy = static_cast<int32_t>(Policy::nearest_nothing);
       policy <= static_cast<int32_t>(Policy::smallest_mean); ++policy) {
    for (const Backend backend : {Backend::cpu, Backend::cuda}) all.push_back({backend, static_cast<Policy>(policy)});
  }
  return all;
}

class AddedRule : public testing::TestWithParam<Case> {
 protected:
  static Config config() {
    Config config = small_config();
    config.rule.policy = GetParam().policy;
    config.shape.capacity = 20;
    return config;
  }
  static Twins twins(const Config& config, Arrangement arrangement = Arrangement::owned) {
    return {GetParam().backend, config, arrangement};
  }
};
INSTANTIATE_TEST_SUITE_P(Recipe, AddedRule, testing::ValuesIn(cases()), [](const auto& info) {
  return std::string(info.param.backend == Backend::cpu ? "Cpu" : "Host") +
         std::to_string(static_cast<int32_t>(info.param.policy));
});

TEST_P(AddedRule, GivesTheOraclesVictimsInEveryOperationAndArrangement) {
  for (const Arrangement arrangement : kArrangements) {
    SCOPED_TRACE("arrangement " + std::to_string(static_cast<int>(arrangement)));
    Twins both = twins(config(), arrangement);
    Inputs inputs{1};
    both.run(Operation::append, {{0, inputs.draw(config(), 26)}, {1, inputs.draw(config(), 9)}});
    both.run(Operation::decode, {{1, inputs.draw(config(), 14)}, {-1, inputs.draw(config(), 1)}});
    both.run(Operation::decode, {{1, inputs.draw(config(), 1)}, {0, inputs.draw(config(), 1)}});
    both.run(Operation::attend, {{0, inputs.draw(config(), 1)}});
    both.expect_same_state();
    both.run(Operation::evict, {{0, inputs.draw(config(), 3)}});
  }
}

TEST_P(AddedRule, GivesTheOraclesStateInEveryPromptMode) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)));
    Options options;
    options.mode = mode;
    options.window = 5;
    Twins both = twins(config());
    Inputs inputs{2};
    both.run(Operation::prefill, {{0, inputs.draw(config(), 34)}, {1, inputs.draw(config(), 13)}}, options);
    both.run(Operation::prefill, {{1, inputs.draw(config(), 19)}}, options);
    if (mode != PrefillMode::window) both.run(Operation::prefill, {{0, inputs.draw(config(), 8)}}, options);
    both.expect_same_state();
    both.run(Operation::append, {{0, inputs.draw(config(), 12)}, {1, inputs.draw(config(), 12)}});
    both.expect_same_state();
  }
}

TEST_P(AddedRule, GoesOnFromASnapshotAndAFork) {
  Config source_config = config();
  source_config.rule.hash_bits = 64;
  source_config.rule.centering = Centering::prompt;
  Twins source = twins(source_config);
  Inputs inputs{3};
  source.run(Operation::prefill, {{0, inputs.draw(source_config, 27)}});
  const std::vector<std::byte> saved = source.cache.cache().save(0, Stream{});
  TestCache target{GetParam().backend, source_config, Arrangement::padded_pages};
  target.cache().load(1, saved.data(), saved.size(), Stream{});
  source.cache.cache().fork(0, 1, Stream{});
  source.fork_oracle(0, 1);
  const Tokens tokens = inputs.draw(source_config, 20);
  const Outcome forked = source.run(Operation::append, {{1, tokens}}).front();
  EXPECT_EQ(target.run(Operation::append, {{1, tokens}}).front().victims, forked.victims);
  source.run(Operation::append, {{0, inputs.draw(source_config, 6)}});
  source.expect_same_state();
}

}  // namespace
}  // namespace hashevict::test
