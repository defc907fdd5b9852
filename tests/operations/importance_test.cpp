// SPDX-License-Identifier: Apache-2.0
// The rule `importance`: against the oracle wherever importances come from, and as the published methods that an engine
// can express with it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Importance);

Config with_importance(ImportanceSource source, bool slopes) {
  Config config = small_config();
  config.rule.policy = Policy::importance;
  config.rule.importance_source = source;
  config.rule.importance_slopes = slopes ? 1 : 0;
  return config;
}

/// Calls `check(config)` for every origin of importances, with slopes and without.
template <class Check>
void for_origins(const Check& check) {
  for (const ImportanceSource source : {ImportanceSource::given, ImportanceSource::key}) {
    for (const bool slopes : {false, true}) {
      SCOPED_TRACE(testing::Message() << "source " << static_cast<int>(source) << ", slopes " << slopes);
      check(with_importance(source, slopes));
    }
  }
}

TEST_P(Importance, GivesTheOraclesVictimsInEveryOperation) {
  for_origins([](const Config& config) {
    for (const Flavour flavour : {Flavour::normal, Flavour::repeated, Flavour::special}) {
      SCOPED_TRACE(testing::Message() << "flavour " << static_cast<int>(flavour) << ", seed 1");
      Twins twins{GetParam(), config, Arrangement::strided};
      Inputs inputs{1};
      const auto draw = [&](std::size_t count) { return inputs.draw(config, count, DType::float32, flavour); };
      twins.run(Operation::prefill, {{0, draw(29)}, {1, draw(9)}});
      twins.run(Operation::append, {{1, draw(31)}, {-1, draw(2)}, {0, draw(3)}});
      twins.run(Operation::prefill, {{0, draw(20)}});
      twins.expect_same_state();
      if (flavour != Flavour::special) twins.run(Operation::decode, {{0, draw(7)}, {1, draw(1)}});
      twins.run(Operation::evict, {{1, draw(12)}});
    }
  });
}

TEST_P(Importance, GivesTheOraclesStateInEveryPromptMode) {
  for_origins([](const Config& config) {
    for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
      SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", seed 2");
      Twins twins{GetParam(), config};
      Inputs inputs{2};
      Options options;
      options.mode = mode;
      options.window = 6;
      twins.run(Operation::prefill, {{0, inputs.draw(config, 40)}, {1, inputs.draw(config, 15)}}, options);
      twins.run(Operation::prefill, {{1, inputs.draw(config, 22)}}, options);
      if (mode != PrefillMode::window) twins.run(Operation::prefill, {{0, inputs.draw(config, 8)}}, options);
      twins.run(Operation::append, {{0, inputs.draw(config, 25)}, {1, inputs.draw(config, 25)}});
      twins.expect_same_state();
    }
  });
}

TEST_P(Importance, IsThatOfKeysBeforeTheyAreRoundedAndAreCentred) {
  for (const DType input : {DType::float16, DType::bfloat16, DType::float32}) {
    SCOPED_TRACE(testing::Message() << "input " << static_cast<int>(input) << ", seed 3");
    Config config = with_importance(ImportanceSource::key, false);
    config.shape.dtype = DType::bfloat16;
    config.rule.centering = Centering::prompt;
    config.rule.pin_prompt = 1;
    Options options;
    options.input = input;
    Twins twins{GetParam(), config, Arrangement::csr_pages};
    Inputs inputs{3};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 30, input, Flavour::biased)}}, options);
    twins.run(Operation::append, {{0, inputs.draw(config, 40, input, Flavour::biased)}}, options);
    twins.expect_same_state();
  }
}

TEST_P(Importance, IsComputedWhereverAKeyLies) {  // at addresses of any alignment, and with gaps between elements
  SCOPED_TRACE("seed 4");
  Config config = with_importance(ImportanceSource::key, false);
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = 1;
  TestCache dense{GetParam(), config};
  const Tokens tokens = Inputs{4}.draw(config, 40);
  const Outcome expected = dense.run(Operation::prefill, {{0, tokens}}).front();
  for (const int64_t step : {1, 2}) {
    TestCache cache{GetParam(), config};
    std::vector<float> spread(1 + tokens.k.size() * static_cast<std::size_t>(step));
    for (std::size_t i = 0; i < tokens.k.size(); ++i) spread[1 + i * static_cast<std::size_t>(step)] = tokens.k[i];
    const Array memory{GetParam(), DType::float32, {static_cast<int64_t>(spread.size())}, spread};
    const Array offsets{GetParam(), {2}, {0, 40}};
    const Array victims{GetParam(), DType::int32, {40, 1}};
    PrefillArgs args;
    args.batch.cu_seqlens = offsets.tensor();
    args.k = Tensor{memory.tensor().data_as<float>() + 1, {40, 1, 16}, {16 * step, 16 * step, step}};
    args.v = args.k;
    args.victims = victims.tensor();
    cache.cache().prefill(args, Stream{});
    EXPECT_EQ(victims.ints(), expected.victims);
  }
}

TEST_P(Importance, GoesOnFromASnapshotAndAFork) {
  for_origins([](const Config& config) {
    SCOPED_TRACE("seed 5");
    Twins source{GetParam(), config};
    Inputs inputs{5};
    source.run(Operation::prefill, {{0, inputs.draw(config, 30)}});
    const std::vector<std::byte> saved = source.cache.cache().save(0, Stream{});
    TestCache target{GetParam(), config, Arrangement::padded_pages};
    target.cache().load(1, saved.data(), saved.size(), Stream{});
    source.cache.cache().fork(0, 1, Stream{});
    source.fork_oracle(0, 1);
    const Tokens tokens = inputs.draw(config, 30);
    const Outcome forked = source.run(Operation::append, {{1, tokens}}).front();
    EXPECT_EQ(target.run(Operation::append, {{1, tokens}}).front().victims, forked.victims);
  });
}

TEST_P(Importance, ReplaysPromptsWhoseSlotsExceedSharedMemory) {
  for (const bool slopes : {false, true}) {
    SCOPED_TRACE(testing::Message() << "slopes " << slopes << ", seed 6");
    Config config = with_importance(ImportanceSource::given, slopes);
    config.shape.capacity = 6400;  // 16 bytes a slot
    config.shape.num_kv_heads = 1;
    config.shape.num_qo_heads = 1;
    config.shape.head_dim = 8;
    config.execution.max_batch_tokens = 8192;
    Twins twins{GetParam(), config};
    Inputs inputs{6};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 6420)}});
    twins.run(Operation::append, {{0, inputs.draw(config, 3)}});
  }
}

/// Takes tokens one step each and returns each step's victim in head 0, or -1.
std::vector<int32_t> victims_of(Backend backend, const Config& config, const Tokens& tokens) {
  TestCache cache{backend, config};
  const Outcome outcome = cache.run(Operation::evict, {{0, tokens}}).front();
  std::vector<int32_t> victims;
  for (std::size_t i = 0; i < tokens.count; ++i) {
    victims.push_back(outcome.victims[i * static_cast<std::size_t>(config.shape.num_kv_heads)]);
  }
  return victims;
}

/// Tokens whose importances and slopes are functions of their position, for all heads.
template <class Value, class Slope>
Tokens tokens_with(const Config& config, std::size_t count, uint32_t seed, const Value& value, const Slope& slope) {
  Tokens tokens = Inputs{seed}.draw(config, count);
  const auto heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  for (std::size_t i = 0; i < tokens.importance.size(); ++i) {
    tokens.importance[i] = static_cast<float>(value(i / heads));
    tokens.importance_slope[i] = static_cast<float>(slope(i / heads));
  }
  return tokens;
}

/// The victims of a method that keeps the tokens with the largest `keep(position, step)`, in double.
template <class Keep>
std::vector<int32_t> victims_by(const Config& config, std::size_t count, const Keep& keep) {
  std::vector<int32_t> held;
  std::vector<int32_t> victims;
  for (int32_t t = 0; t < static_cast<int32_t>(count); ++t) {
    int32_t victim = -1;
    if (static_cast<int32_t>(held.size()) == config.shape.capacity) {
      for (const int32_t p : held) {  // ascending, so that the oldest of equals goes
        if (p < config.rule.num_sink_tokens || p >= t - config.rule.recent_window) continue;
        if (victim < 0 || keep(p, t) < keep(victim, t)) victim = p;
      }
      held.erase(std::find(held.begin(), held.end(), victim));
    }
    held.push_back(t);
    victims.push_back(victim);
  }
  return victims;
}

constexpr auto kNothing = [](std::size_t /*position*/) { return 0.0; };

TEST_P(Importance, OfThePositionIsAWindow) {
  const Config config = with_importance(ImportanceSource::given, false);
  Config window = config;
  window.rule.policy = Policy::window;
  const Tokens tokens = tokens_with(
      config, 80, 7, [](std::size_t p) { return static_cast<double>(p); }, kNothing);
  EXPECT_EQ(victims_of(GetParam(), config, tokens), victims_of(GetParam(), window, tokens));
}

TEST_P(Importance, ThatFallsWithEveryTokenIsTrimKvsRetention) {
  // TRIM-KV gives each token a retention rate r, keeps r^age of it, and evicts what is kept least. Its logarithm falls
  // by a constant with every token: a = 0, b = log r.
  const Config config = with_importance(ImportanceSource::given, true);
  const std::vector<float> drawn = Inputs{8}.floats(120);
  const auto rate = [&](std::size_t p) { return 1.0 / (1.0 + std::exp(-4.0 - static_cast<double>(drawn[p]))); };
  const Tokens tokens = tokens_with(config, 120, 8, kNothing, [&](std::size_t p) { return std::log(rate(p)); });
  const std::vector<int32_t> expected = victims_by(config, 120, [&](int32_t p, int32_t t) {
    return std::pow(rate(static_cast<std::size_t>(p)), static_cast<double>(t - p));
  });
  EXPECT_EQ(victims_of(GetParam(), config, tokens), expected);
  Config without_age = config;
  without_age.rule.importance_slopes = 0;
  EXPECT_NE(victims_of(GetParam(), without_age, tokens), expected);
}

TEST_P(Importance, OfTheKeyIsKvzapsLinearScore) {
  // KVzap predicts a key's score from the key by a linear layer for each head.
  const Config config = with_importance(ImportanceSource::key, false);
  const Tokens tokens = Inputs{9}.draw(config, 90);
  const ImportanceWeights weights = importance_weights(config, 0);
  const std::vector<int32_t> expected = victims_by(config, 90, [&](int32_t p, int32_t /*t*/) {
    double score = static_cast<double>(weights.bias[0]);
    for (std::size_t e = 0; e < 16; ++e) {
      score +=
          static_cast<double>(weights.weight[e]) * static_cast<double>(tokens.k[static_cast<std::size_t>(p) * 32 + e]);
    }
    return score;
  });
  EXPECT_EQ(victims_of(GetParam(), config, tokens), expected);
}

TEST_P(Importance, OfZeroOrOneIsDmssFlagWithADelay) {
  // DMS flags tokens for eviction and removes them `delay` steps later: the recent window is the delay.
  Config config = with_importance(ImportanceSource::given, false);
  config.rule.recent_window = 8;
  config.rule.num_sink_tokens = 0;
  const auto keeps = [](std::size_t p) { return p % 3 == 0 ? 1.0 : 0.0; };
  const std::vector<int32_t> victims = victims_of(GetParam(), config, tokens_with(config, 50, 10, keeps, kNothing));
  for (int32_t t = config.shape.capacity; t < 50; ++t) {  // 24 slots: a third of 50 tokens, and the window, fit
    const int32_t victim = victims[static_cast<std::size_t>(t)];
    EXPECT_NE(victim % 3, 0) << "step " << t;
    EXPECT_LT(victim, t - 8);
    EXPECT_GT(victim, victims[static_cast<std::size_t>(t - 1)]) << "flagged tokens go in their order";
  }
}

TEST_P(Importance, FromOutsideIsTheOneThatGoes) {
  // TokenButler's and Judge Q's importances come from modules of their own; the cache only ranks them.
  const Config config = with_importance(ImportanceSource::given, false);
  const std::vector<float> drawn = Inputs{11}.floats(100);
  const auto value = [&](std::size_t p) { return static_cast<double>(drawn[p]); };
  EXPECT_EQ(victims_of(GetParam(), config, tokens_with(config, 100, 11, value, kNothing)),
            victims_by(config, 100, [&](int32_t p, int32_t /*t*/) { return value(static_cast<std::size_t>(p)); }));
}

TEST_P(Importance, OfEitherZeroIsTheSame) {
  const Config config = with_importance(ImportanceSource::given, false);
  const auto signs = [](std::size_t p) { return p % 2 == 0 ? 0.0 : -0.0; };
  EXPECT_EQ(victims_of(GetParam(), config, tokens_with(config, 60, 12, signs, kNothing)),
            victims_of(GetParam(), config, tokens_with(config, 60, 12, kNothing, kNothing)));
}

TEST_P(Importance, ThatIsNotFiniteIsRefusedOrTheSmallest) {
  using Limits = std::numeric_limits<float>;
  for (const float odd : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    SCOPED_TRACE(testing::Message() << "importance " << odd << ", seed 13");
    const Config config = with_importance(ImportanceSource::given, false);
    const auto value = [&](std::size_t p) { return p == 9 ? odd : -static_cast<float>(p) * 1e30F; };
    const Tokens tokens = tokens_with(config, 26, 13, value, kNothing);
    if (GetParam() == Backend::cpu) {
      TestCache cache{GetParam(), config};
      EXPECT_THROW(cache.run(Operation::evict, {{0, tokens}}), Error);
      EXPECT_EQ(cache.state(0, 0).tokens_seen, 0);
    } else {
      const std::vector<int32_t> victims = victims_of(GetParam(), config, tokens);
      EXPECT_EQ(victims[24], 9);
      EXPECT_EQ(victims[25], 19);  // the newest outside the window, the least of the finite ones
    }
  }
}

TEST_P(Importance, ThatOverflowsIsTheSmallest) {
  const Config config = with_importance(ImportanceSource::given, true);
  const float largest = std::numeric_limits<float>::max();
  const auto value = [&](std::size_t p) { return p == 9 ? largest : 1.0F; };
  const auto slope = [&](std::size_t p) { return p == 9 ? largest : 0.0F; };
  EXPECT_EQ(victims_of(GetParam(), config, tokens_with(config, 26, 14, value, slope))[24], 9);
}

}  // namespace
}  // namespace hashevict::test
