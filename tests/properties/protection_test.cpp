// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// Sinks and the recent window are never evicted. Each position occurs at most once per head. The length never exceeds
/// the capacity, and slots 0 .. length - 1 are always valid.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Protection);

/// Checks the invariants of one head after `tokens_seen` tokens.
void expect_sound(const std::set<int32_t>& held, int32_t length, int32_t tokens_seen, const Config& config) {
  EXPECT_EQ(held.size(), static_cast<std::size_t>(length)) << "a position occurs twice";
  EXPECT_GE(*held.begin(), 0) << "a slot below the length is empty";
  EXPECT_LT(*held.rbegin(), tokens_seen);
  for (int32_t sink = 0; sink < std::min(config.rule.num_sink_tokens, tokens_seen); ++sink) {
    EXPECT_EQ(held.count(sink), 1U) << "sink " << sink << " after " << tokens_seen << " tokens";
  }
  for (int32_t recent = std::max(0, tokens_seen - 1 - config.rule.recent_window); recent < tokens_seen; ++recent) {
    EXPECT_EQ(held.count(recent), 1U) << "recent " << recent << " after " << tokens_seen << " tokens";
  }
}

void expect_sound(const TestCache& cache) {
  const State state = cache.state(0, 0);
  const Config& config = cache.config();
  auto begin = state.positions.begin();
  for (int32_t head = 0; head < config.shape.num_kv_heads; ++head) {
    SCOPED_TRACE(testing::Message() << "head " << head);
    const int32_t capacity = capacity_of(config, 0, head);
    const int32_t length = state.lengths[static_cast<std::size_t>(head)];
    EXPECT_EQ(length, std::min(state.tokens_seen, capacity));
    expect_sound({begin, begin + length}, length, state.tokens_seen, config);
    for (auto slot = begin + length; slot != begin + capacity; ++slot) EXPECT_EQ(*slot, -1);
    begin += capacity;
  }
}

TEST_P(Protection, HoldsAfterEveryStep) {
  for (const Flavour flavour : {Flavour::normal, Flavour::repeated, Flavour::special}) {
    for (Config config : configs_with_ragged_heads(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", flavour "
                                      << static_cast<int>(flavour) << ", seed 1");
      TestCache cache{GetParam(), config};
      Inputs inputs{1};
      for (int step = 0; step < 60; ++step) {
        cache.run(Operation::append, {{0, inputs.draw(config, 1, DType::float32, flavour)}});
        expect_sound(cache);
      }
    }
  }
}

TEST_P(Protection, HoldsWhereOnlyOneSlotIsFree) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", seed 2");
    config.rule.num_sink_tokens = 9;
    config.rule.recent_window = 14;
    TestCache cache{GetParam(), config};
    Inputs inputs{2};
    for (int step = 0; step < 60; ++step) {
      cache.run(Operation::append, {{0, inputs.draw(config, 1)}});
      expect_sound(cache);
    }
  }
}

TEST_P(Protection, HoldsAfterPromptsOfEveryMode) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::recent}) {
    for (const Config& config : configs_with_ragged_heads(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", mode "
                                      << static_cast<int>(mode) << ", seed 3");
      Options options;
      options.mode = mode;
      TestCache cache{GetParam(), config};
      Inputs inputs{3};
      for (const std::size_t chunk : Counts{10, 30, 5, 80}) {
        cache.run(Operation::prefill, {{0, inputs.draw(config, chunk)}}, options);
        expect_sound(cache);
        cache.run(Operation::append, {{0, inputs.draw(config, 3)}});
        expect_sound(cache);
      }
    }
  }
}

TEST_P(Protection, OfSinksAndTheWindowHoldsAfterAWindowedPrompt) {
  SCOPED_TRACE("seed 4");
  Config config = small_config();
  config.rule.recent_window = 6;
  Options options;
  options.mode = PrefillMode::window;
  options.window = 7;  // the window replaces the recent tokens: here the last 7
  TestCache cache{GetParam(), config};
  cache.run(Operation::prefill, {{0, Inputs{4}.draw(config, 90)}}, options);
  expect_sound(cache);
}

TEST_P(Protection, OfAPinnedPromptHoldsWhileAnythingElseCanGo) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", seed 5");
    config.rule.pin_prompt = true;
    TestCache cache{GetParam(), config};
    Inputs inputs{5};
    cache.run(Operation::prefill,
              {{0, inputs.draw(config, 18)}});  // leaves 6 slots; 5 of them and the new one are recent
    for (int step = 0; step < 50; ++step) {
      cache.run(Operation::append, {{0, inputs.draw(config, 1)}});
      const State state = cache.state(0, 0);
      const std::set<int32_t> held{state.positions.begin(), state.positions.begin() + 24};
      for (int32_t position = 0; position < 18; ++position) EXPECT_EQ(held.count(position), 1U) << position;
    }
  }
}

// A prompt, some steps, and a further prompt. Dividing the latter into chunks must change nothing. So a prefill ignores
// pins, and at its end it pins everything that the sequence has seen.

TEST_P(Protection, OfAPinnedPromptDoesNotBindTheNextPrefill) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", seed 6");
    Inputs inputs{6};
    const Tokens prompt = inputs.draw(config, 18);
    const Tokens steps = inputs.draw(config, 3);
    const Tokens next = inputs.draw(config, 40);
    std::vector<Outcome> outcomes;
    for (const bool pin : {true, false}) {
      config.rule.pin_prompt = pin;
      TestCache cache{GetParam(), config};
      cache.run(Operation::prefill, {{0, prompt}});
      cache.run(Operation::append, {{0, steps}});  // 21 of 24 slots: nothing has been evicted
      outcomes.push_back(cache.run(Operation::prefill, {{0, next}}).front());
    }
    expect_same(outcomes[0], outcomes[1]);
  }
}

TEST_P(Protection, OfAPinnedPromptTakesInAllThatWasSeenWhenTheNextPrefillEnds) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", seed 7");
    config.rule.pin_prompt = true;
    TestCache cache{GetParam(), config};
    Inputs inputs{7};
    cache.run(Operation::prefill, {{0, inputs.draw(config, 18)}});
    cache.run(Operation::append, {{0, inputs.draw(config, 3)}});
    cache.run(Operation::prefill,
              {{0, inputs.draw(config, 3)}});  // all 24 slots are pinned, also those of decoded tokens
    for (int step = 0; step < 50; ++step) {
      const Outcome outcome = cache.run(Operation::append, {{0, inputs.draw(config, 1)}}).front();
      const bool others_can_go =
          step > config.rule.recent_window;  // the oldest token decoded since has left the window
      for (const int32_t victim : outcome.victims) EXPECT_EQ(victim >= 24, others_can_go) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace hashevict::test
