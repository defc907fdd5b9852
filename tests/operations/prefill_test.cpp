// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Prefill);

Options in_mode(PrefillMode mode, int32_t window = 32) {
  Options options;
  options.mode = mode;
  options.window = window;
  return options;
}

/// Prefills and then decodes, so that a wrong accumulator or counter shows in the victims.
void expect_oracles_state(Backend backend, const Config& config, const Options& options, std::size_t prompt,
                          uint32_t seed, Flavour flavour = Flavour::normal) {
  SCOPED_TRACE("prompt of " + std::to_string(prompt) + ", seed " + std::to_string(seed));
  Twins twins{backend, config};
  Inputs inputs{seed};
  twins.run(Operation::prefill, {{1, inputs.draw(config, prompt, options.input, flavour)}}, options);
  twins.expect_same_state();
  twins.run(Operation::decode, {{1, inputs.draw(config, 30, options.input)}}, options);
  twins.expect_same_state();
}

/// Expects that the last row of a batch cannot be taken. A backend with lengths on the host refuses the whole call. On
/// a device only the kernels know the lengths, so the call succeeds and the row's sequence stays as it is.
void expect_refused(TestCache& cache, const Batch& batch, const Options& options) {
  const std::vector<State> before = cache.states();
  const int32_t sequence = batch.back().sequence;
  if (cache.backend() == Backend::cpu) {
    try {
      cache.run(Operation::prefill, batch, options);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::invalid_state) << error.what();
    }
    EXPECT_TRUE(cache.states() == before) << "a refused call changed the state";
    return;
  }
  const Outcome outcome = cache.run(Operation::prefill, batch, options).back();
  const std::vector<int32_t> nothing(outcome.slots.size(), -1);
  EXPECT_EQ(outcome.slots, nothing);
  EXPECT_EQ(outcome.victims, nothing);
  EXPECT_TRUE(cache.state(0, sequence) == before[static_cast<std::size_t>(sequence)])
      << "a refused row changed its sequence";
  for (std::size_t row = 0; row + 1 < batch.size(); ++row) {
    EXPECT_EQ(cache.state(0, batch[row].sequence).tokens_seen, static_cast<int32_t>(batch[row].tokens.count));
  }
}

TEST_P(Prefill, PromptsThatFitAreKeptWholeInEveryMode) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    for (const std::size_t prompt : Counts{1, 2, 23, 24}) {
      SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode));
      expect_oracles_state(GetParam(), small_config(), in_mode(mode), prompt, 1);
    }
  }
}

TEST_P(Prefill, ReplayGivesTheOraclesStateForEveryPolicy) {
  for (const Policy policy : kPolicies) {
    for (const Flavour flavour : {Flavour::normal, Flavour::repeated}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
      Config config = small_config();
      config.rule.policy = policy;
      expect_oracles_state(GetParam(), config, in_mode(PrefillMode::replay), 100, 2, flavour);
    }
  }
}

TEST_P(Prefill, ReplayIsOneStepPerToken) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 3");
    Config config = small_config();
    config.rule.policy = policy;
    config.shape.dtype = DType::bfloat16;
    TestCache replayed{GetParam(), config};
    TestCache stepped{GetParam(), config};
    const Tokens tokens = Inputs{3}.draw(config, 90);
    const Outcome outcome = replayed.run(Operation::prefill, {{0, tokens}}).front();
    Outcome steps;
    for (std::size_t i = 0; i < 90; ++i) {
      const Outcome one = stepped.run(Operation::append, {{0, slice(config, tokens, i, 1)}}).front();
      steps.slots.insert(steps.slots.end(), one.slots.begin(), one.slots.end());
      steps.victims.insert(steps.victims.end(), one.victims.begin(), one.victims.end());
    }
    EXPECT_EQ(outcome.slots, steps.slots);
    EXPECT_EQ(outcome.victims, steps.victims);
    expect_same(replayed.state(0, 0), stepped.state(0, 0));
  }
}

TEST_P(Prefill, ReplayOnTopOfStepsGivesTheOraclesState) {
  SCOPED_TRACE("seed 5");
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = small_config();
    config.rule.policy = policy;
    Twins twins{GetParam(), config};
    Inputs inputs{5};
    twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
    twins.run(Operation::prefill, {{0, inputs.draw(config, 40)}});
    twins.run(Operation::append, {{0, inputs.draw(config, 20)}});
    twins.expect_same_state();
  }
}

TEST_P(Prefill, WindowKeepsSinksTheEndAndTheNearest) {
  for (const Policy policy : kPolicies) {
    for (const int32_t window : {1, 5, 32, 100}) {  // above 22 the window is clipped, and no slot is left to choose for
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", window " << window);
      Config config = small_config();
      config.rule.policy = policy;
      expect_oracles_state(GetParam(), config, in_mode(PrefillMode::window, window), 70, 6);
    }
  }
}

TEST_P(Prefill, WindowTiesKeepTheNewer) {
  for (const std::size_t prompt : Counts{25, 26, 70}) {
    expect_oracles_state(GetParam(), small_config(), in_mode(PrefillMode::window, 4), prompt, 7, Flavour::repeated);
  }
}

TEST_P(Prefill, WindowTakesAChunkAsLongAsNothingWasDropped) {
  SCOPED_TRACE("seed 8");
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = small_config();
    config.rule.policy = policy;
    Twins twins{GetParam(), config};
    Inputs inputs{8};
    const Options options = in_mode(PrefillMode::window, 6);
    twins.run(Operation::prefill, {{0, inputs.draw(config, 11)}}, options);
    twins.run(Operation::prefill, {{0, inputs.draw(config, 9)}}, options);
    twins.run(Operation::prefill, {{0, inputs.draw(config, 17)}}, options);
    twins.expect_same_state();
    twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
    twins.expect_same_state();
  }
}

TEST_P(Prefill, WindowRefusesAChunkAfterAnEviction) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{9};
  cache.run(Operation::append, {{0, inputs.draw(config, 25)}});
  expect_refused(cache, {{1, inputs.draw(config, 3)}, {0, inputs.draw(config, 40)}}, in_mode(PrefillMode::window));
}

TEST_P(Prefill, WindowRefusesALastChunkThatIsShorterThanTheWindow) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{10};
  cache.run(Operation::prefill, {{0, inputs.draw(config, 20)}}, in_mode(PrefillMode::window, 8));
  expect_refused(cache, {{0, inputs.draw(config, 7)}}, in_mode(PrefillMode::window, 8));
}

TEST_P(Prefill, RecentKeepsSinksAndTheEnd) {
  for (const Policy policy : kPolicies) {
    for (const std::size_t prompt : Counts{25, 26, 47, 100}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
      Config config = small_config();
      config.rule.policy = policy;
      expect_oracles_state(GetParam(), config, in_mode(PrefillMode::recent), prompt, 11);
    }
  }
}

TEST_P(Prefill, RecentContinuesOverTheOldestSlots) {
  SCOPED_TRACE("seed 12");
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = small_config();
    config.rule.policy = policy;
    Twins twins{GetParam(), config};
    Inputs inputs{12};
    for (const std::size_t chunk : Counts{20, 9, 1, 60, 13}) {  // one that fills the cache, one far longer than it
      twins.run(Operation::prefill, {{0, inputs.draw(config, chunk)}}, in_mode(PrefillMode::recent));
      twins.expect_same_state();
    }
    twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
    twins.expect_same_state();
    twins.run(Operation::prefill, {{0, inputs.draw(config, 5)}}, in_mode(PrefillMode::recent));  // after evictions
    twins.expect_same_state();
  }
}

TEST_P(Prefill, NothingProtectedGivesTheOraclesState) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode));
    Config config = small_config();
    config.rule.num_sink_tokens = 0;
    config.rule.recent_window = 0;
    expect_oracles_state(GetParam(), config, in_mode(mode, 3), 60, 14);
    config.shape.capacity = 1;
    expect_oracles_state(GetParam(), config, in_mode(mode, 3), 60, 14);
  }
}

TEST_P(Prefill, EveryTypeAndShapeGivesTheOraclesState) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    for (const DType dtype : kHalves) {
      SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", dtype " << static_cast<int>(dtype));
      Config config = small_config();
      config.shape.dtype = dtype;
      config.shape.head_dim = 80;
      config.shape.num_qo_heads = 6;
      config.rule.hash_bits = 64;
      Options options = in_mode(mode, 7);
      expect_oracles_state(GetParam(), config, options, 50, 15);
      options.input = dtype;
      options.output = dtype;
      expect_oracles_state(GetParam(), config, options, 50, 15);
    }
  }
}

TEST_P(Prefill, RaggedRowsGiveTheOraclesState) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", seed 16");
    Config config = small_config();
    config.shape.num_sequences = 4;
    Twins twins{GetParam(), config};
    Inputs inputs{16};
    twins.run(Operation::prefill,
              {{2, inputs.draw(config, 51)},
               {-1, inputs.draw(config, 30)},
               {3, inputs.draw(config, 8)},
               {1, inputs.draw(config, 0)},
               {0, inputs.draw(config, 25)}},
              in_mode(mode, 5));
    twins.expect_same_state();
    EXPECT_EQ(twins.cache.state(0, 1).tokens_seen, 0);
  }
}

TEST_P(Prefill, ChunksOfAPinnedPromptDoNotPinEachOther) {
  SCOPED_TRACE("seed 17");
  Config config = small_config();
  config.rule.pin_prompt = true;
  Twins twins{GetParam(), config};
  Inputs inputs{17};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 20)}});
  twins.run(Operation::prefill, {{0, inputs.draw(config, 30)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
  twins.run(Operation::prefill, {{0, inputs.draw(config, 10)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
  twins.expect_same_state();
}

TEST_P(Prefill, RowsWithoutTokensPinNothing) {
  SCOPED_TRACE("seed 23");
  Config config = small_config();
  config.rule.pin_prompt = true;
  Twins twins{GetParam(), config};
  Inputs inputs{23};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 8)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 14)}});
  twins.run(Operation::prefill, {{0, inputs.draw(config, 0)}, {1, inputs.draw(config, 3)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 30)}});
  twins.expect_same_state();
}

Config centered(Policy policy = Policy::hash) {
  Config config = small_config();
  config.rule.centering = Centering::prompt;
  config.rule.policy = policy;
  config.rule.hash_bits = 64;
  return config;
}

TEST_P(Prefill, CenterIsTheMeanOfThePrompt) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    for (const Policy policy : {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
      for (const std::size_t prompt : Counts{1, 10, 60, 300}) {  // the last one in two blocks of the sum
        SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", policy "
                                        << static_cast<int>(policy));
        expect_oracles_state(GetParam(), centered(policy), in_mode(mode, 8), prompt, 18, Flavour::biased);
      }
    }
  }
}

TEST_P(Prefill, CenterCannotBeTheMeanOfASecondChunk) {
  const Config config = centered();
  TestCache cache{GetParam(), config};
  Inputs inputs{19};
  cache.run(Operation::prefill, {{0, inputs.draw(config, 10)}});
  expect_refused(cache, {{0, inputs.draw(config, 4)}}, {});
}

TEST_P(Prefill, CenterCannotBeTheMeanAfterSteps) {
  const Config config = centered();
  TestCache cache{GetParam(), config};
  Inputs inputs{20};
  cache.run(Operation::append, {{0, inputs.draw(config, 1)}});
  expect_refused(cache, {{1, inputs.draw(config, 4)}, {0, inputs.draw(config, 4)}}, {});
}

TEST_P(Prefill, CenterThatWasSetIsKeptAndAllowsChunks) {
  SCOPED_TRACE("seed 21");
  const Config config = centered();
  Twins twins{GetParam(), config};
  Inputs inputs{21};
  const auto key_center = inputs.floats(32);
  const auto query_center = inputs.floats(64);
  twins.cache.cache().set_center(0, 0, Tensor{key_center.data(), {2, 16}}, Tensor{query_center.data(), {4, 16}});
  twins.oracle(0, 0).set_center(key_center, query_center);
  twins.run(Operation::prefill, {{0, inputs.draw(config, 30, DType::float32, Flavour::biased)}});
  twins.run(Operation::prefill, {{0, inputs.draw(config, 30, DType::float32, Flavour::biased)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 30, DType::float32, Flavour::biased)}});
  twins.expect_same_state();
}

TEST_P(Prefill, StepsWithoutAPromptHaveNoCenter) {
  SCOPED_TRACE("seed 22");
  const Config config = centered();
  Twins twins{GetParam(), config};
  twins.run(Operation::append, {{0, Inputs{22}.draw(config, 60, DType::float32, Flavour::biased)}});
  twins.expect_same_state();
}

}  // namespace
}  // namespace hashevict::test
