// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// Sinks and the recent window are never evicted; each position occurs at most once per head; the length never exceeds
/// the capacity, and slots 0 .. length - 1 are always all valid.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Protection);

/// What must hold of one head after `tokens_seen` tokens.
void expect_sound(const std::set<int32_t>& held, int32_t tokens_seen, const Config& config) {
  const int32_t length = std::min(tokens_seen, config.capacity);
  EXPECT_EQ(held.size(), static_cast<std::size_t>(length)) << "a position occurs twice";
  EXPECT_GE(*held.begin(), 0) << "a slot below the length is empty";
  EXPECT_LT(*held.rbegin(), tokens_seen);
  for (int32_t sink = 0; sink < std::min(config.num_sink_tokens, tokens_seen); ++sink) {
    EXPECT_EQ(held.count(sink), 1U) << "sink " << sink << " after " << tokens_seen << " tokens";
  }
  for (int32_t recent = std::max(0, tokens_seen - 1 - config.recent_window); recent < tokens_seen; ++recent) {
    EXPECT_EQ(held.count(recent), 1U) << "recent " << recent << " after " << tokens_seen << " tokens";
  }
}

void expect_sound(const TestCache& cache) {
  const State state = cache.state(0, 0);
  const Config& config = cache.config();
  EXPECT_EQ(state.length, std::min(state.tokens_seen, config.capacity));
  const auto capacity = static_cast<std::ptrdiff_t>(config.capacity);
  for (std::ptrdiff_t head = 0; head < config.num_kv_heads; ++head) {
    SCOPED_TRACE(testing::Message() << "head " << head);
    const auto begin = state.positions.begin() + head * capacity;
    expect_sound({begin, begin + state.length}, state.tokens_seen, config);
    for (auto slot = begin + state.length; slot != begin + capacity; ++slot) EXPECT_EQ(*slot, -1);
  }
}

TEST_P(Protection, HoldsAfterEveryStep) {
  for (const Flavour flavour : {Flavour::normal, Flavour::repeated, Flavour::special}) {
    for (Config config : configs_of_every_rule(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", flavour "
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
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", seed 2");
    config.num_sink_tokens = 9;
    config.recent_window = 14;
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
    for (const Config& config : configs_of_every_rule(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", mode "
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
  config.recent_window = 6;
  Options options;
  options.mode = PrefillMode::window;
  options.window = 7;  // the window plays the recent tokens' part: these are the last 7
  TestCache cache{GetParam(), config};
  cache.run(Operation::prefill, {{0, Inputs{4}.draw(config, 90)}}, options);
  expect_sound(cache);
}

TEST_P(Protection, OfAPinnedPromptHoldsWhileAnythingElseCanGo) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", seed 5");
    config.pin_prompt = true;
    TestCache cache{GetParam(), config};
    Inputs inputs{5};
    cache.run(Operation::prefill, {{0, inputs.draw(config, 18)}});  // leaves 6 slots, of which 5 and the new are recent
    for (int step = 0; step < 50; ++step) {
      cache.run(Operation::append, {{0, inputs.draw(config, 1)}});
      const State state = cache.state(0, 0);
      const std::set<int32_t> held{state.positions.begin(), state.positions.begin() + 24};
      for (int32_t position = 0; position < 18; ++position) EXPECT_EQ(held.count(position), 1U) << position;
    }
  }
}

// A prompt, some steps, and a further prompt: whether the latter comes in chunks must change nothing, so a prefill
// looks at no pins, and one that ends pins everything that the sequence has seen.

TEST_P(Protection, OfAPinnedPromptDoesNotBindTheNextPrefill) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", seed 6");
    Inputs inputs{6};
    const Tokens prompt = inputs.draw(config, 18);
    const Tokens steps = inputs.draw(config, 3);
    const Tokens next = inputs.draw(config, 40);
    std::vector<Outcome> outcomes;
    for (const bool pin : {true, false}) {
      config.pin_prompt = pin;
      TestCache cache{GetParam(), config};
      cache.run(Operation::prefill, {{0, prompt}});
      cache.run(Operation::append, {{0, steps}});  // 21 of 24 slots: nothing was evicted yet
      outcomes.push_back(cache.run(Operation::prefill, {{0, next}}).front());
    }
    expect_same(outcomes[0], outcomes[1]);
  }
}

TEST_P(Protection, OfAPinnedPromptTakesInAllThatWasSeenWhenTheNextPrefillEnds) {
  for (Config config : configs_of_every_rule(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.policy) << ", seed 7");
    config.pin_prompt = true;
    TestCache cache{GetParam(), config};
    Inputs inputs{7};
    cache.run(Operation::prefill, {{0, inputs.draw(config, 18)}});
    cache.run(Operation::append, {{0, inputs.draw(config, 3)}});
    cache.run(Operation::prefill, {{0, inputs.draw(config, 3)}});  // all 24 slots: pinned, the decoded ones among them
    for (int step = 0; step < 50; ++step) {
      const Outcome outcome = cache.run(Operation::append, {{0, inputs.draw(config, 1)}}).front();
      const bool others_can_go = step > config.recent_window;  // the oldest decoded since has left the window
      for (const int32_t victim : outcome.victims) EXPECT_EQ(victim >= 24, others_can_go) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace hashevict::test
