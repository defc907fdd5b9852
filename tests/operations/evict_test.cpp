// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Evict);

/// Streams tokens of two ragged sequences through evict() in rows of several tokens and compares with the oracle.
void expect_oracles_victims(Backend backend, const Config& config, uint32_t seed, Flavour flavour = Flavour::normal,
                            std::size_t num_tokens = 70) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Twins twins{backend, config};
  Inputs inputs{seed};
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    Options options;
    options.layer = layer;
    const Tokens first = inputs.draw(config, num_tokens, DType::float32, flavour);
    const Tokens second = inputs.draw(config, num_tokens / 2 + 7, DType::float32, flavour);
    twins.run(Operation::evict, {{1, first}, {0, second}}, options);
    twins.run(
        Operation::evict,
        {{0, inputs.draw(config, 1, DType::float32, flavour)}, {1, inputs.draw(config, 1, DType::float32, flavour)}},
        options);
  }
  twins.expect_same_state();
}

Config with_policy(Policy policy) {
  Config config = small_config();
  config.rule.policy = policy;
  return config;
}

TEST_P(Evict, RoomLeftTakesTheNextSlotAndEvictsNothing) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  const Outcome outcome = cache.run(Operation::evict, {{0, Inputs{1}.draw(config, 24)}}).front();
  for (int32_t i = 0; i < 24; ++i) {
    EXPECT_EQ(outcome.slots[static_cast<std::size_t>(2 * i)], i);
    EXPECT_EQ(outcome.victims[static_cast<std::size_t>(2 * i)], -1);
  }
}

TEST_P(Evict, QueriesEvictTheFarthest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::hash), 2);
}

TEST_P(Evict, NewKeyEvictsTheFarthest) {
  Config config = with_policy(Policy::hash);
  config.rule.hash_source = HashSource::key;
  expect_oracles_victims(GetParam(), config, 3);
}

TEST_P(Evict, WindowEvictsTheOldest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::window), 4);
  const Config config = with_policy(Policy::window);
  TestCache cache{GetParam(), config};
  const Outcome outcome = cache.run(Operation::evict, {{0, Inputs{4}.draw(config, 60)}}).front();
  for (int32_t t = 24; t < 60; ++t) EXPECT_EQ(outcome.victims[static_cast<std::size_t>(2 * t)], t - 24 + 2);
}

TEST_P(Evict, RandomEvictsByCounter) {
  expect_oracles_victims(GetParam(), with_policy(Policy::random), 5);
  Config config = with_policy(Policy::random);
  config.rule.seed = 0xFEDCBA9876543210U;
  config.shape.kv_head_offset = 6;
  config.shape.num_layers = 3;
  expect_oracles_victims(GetParam(), config, 6);
}

TEST_P(Evict, MeanEvictsTheClosest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::mean), 8, Flavour::biased);
}

TEST_P(Evict, VotesEvictTheFewest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::votes), 9);
}

TEST_P(Evict, ImportanceEvictsTheLeastImportant) {
  expect_oracles_victims(GetParam(), with_policy(Policy::importance), 28);
}

TEST_P(Evict, SupersededEvictsTheRepeated) {
  expect_oracles_victims(GetParam(), with_policy(Policy::superseded), 10);
}

TEST_P(Evict, EveryWidthOfCodeGivesTheOraclesVictims) {
  for (const Policy policy : kPolicies) {
    for (const int32_t bits : {8, 16, 32, 64, 128}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", hash_bits " << bits);
      Config config = with_policy(policy);
      config.rule.hash_bits = bits;
      expect_oracles_victims(GetParam(), config, 11);
    }
  }
}

TEST_P(Evict, TiesTakeTheOldest) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    expect_oracles_victims(GetParam(), with_policy(policy), 12, Flavour::repeated, 120);
  }
}

TEST_P(Evict, TiesTakeTheLowestSlotIfAsked) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = with_policy(policy);
    config.rule.tie = Tie::lowest_slot;
    expect_oracles_victims(GetParam(), config, 13, Flavour::repeated, 120);
  }
}

TEST_P(Evict, EveryGroupSizeSumsItsQueries) {
  for (const int32_t group : {1, 2, 3, 4, 7, 8}) {
    SCOPED_TRACE(testing::Message() << "group_size " << group);
    Config config = small_config();
    config.shape.num_qo_heads = group * config.shape.num_kv_heads;
    config.rule.hash_bits = 8;
    expect_oracles_victims(GetParam(), config, 14);
  }
}

TEST_P(Evict, EveryHeadSizeGivesTheOraclesVictims) {
  for (const int32_t dim : {8, 24, 64, 80, 96, 112, 128, 160, 192, 256}) {
    SCOPED_TRACE(testing::Message() << "head_dim " << dim);
    Config config = small_config();
    config.shape.head_dim = dim;
    expect_oracles_victims(GetParam(), config, 15, Flavour::normal, 40);
  }
}

TEST_P(Evict, EveryCapacityFromTheSmallestGivesTheOraclesVictims) {
  for (const int32_t capacity : {8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 200}) {
    SCOPED_TRACE(testing::Message() << "capacity " << capacity);
    Config config = small_config();
    config.shape.capacity = capacity;
    config.rule.hash_bits = 8;
    expect_oracles_victims(GetParam(), config, 16, Flavour::normal, static_cast<std::size_t>(capacity) + 30);
  }
}

TEST_P(Evict, OneSlotWithNothingProtectedHoldsTheLastToken) {
  Config config = small_config();
  config.shape.capacity = 1;
  config.rule.num_sink_tokens = 0;
  config.rule.recent_window = 0;
  expect_oracles_victims(GetParam(), config, 17);
}

TEST_P(Evict, ProtectedZonesAreSpared) {
  for (const auto& [sink, recent] : {std::pair{0, 0}, {0, 23}, {23, 0}, {11, 12}, {1, 7}}) {
    SCOPED_TRACE(testing::Message() << "sink " << sink << ", recent " << recent);
    Config config = small_config();
    config.rule.num_sink_tokens = sink;
    config.rule.recent_window = recent;
    expect_oracles_victims(GetParam(), config, 18);
  }
}

TEST_P(Evict, FractionsAreOfEachHeadsCapacity) {
  Config config = small_config();
  config.shape.num_layers = 3;
  config.shape.capacities = {20, 37, 61, 3, 40, 41};
  config.rule.sink_fraction = 0.1F;
  config.rule.recent_fraction = 0.5F;
  expect_oracles_victims(GetParam(), config, 19, Flavour::normal, 110);
}

TEST_P(Evict, LayersHaveTheirOwnCapacities) {
  Config config = small_config();
  config.shape.num_layers = 3;
  config.shape.capacities = capacities_of_layers({9, 40, 16}, config.shape.num_kv_heads);
  expect_oracles_victims(GetParam(), config, 20);
}

TEST_P(Evict, HeadsHaveTheirOwnCapacities) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = ragged_config();
    config.rule.policy = policy;
    expect_oracles_victims(GetParam(), config, 27);
  }
}

TEST_P(Evict, AHeadMayKeepAllTokens) {
  Config config = small_config();
  config.shape.capacities = {8, 10000};  // of which the tokens fill few
  expect_oracles_victims(GetParam(), config, 28);
}

TEST_P(Evict, ProjectionsPerHeadGiveTheOraclesVictims) {
  Config config = small_config();
  config.rule.projection_per_head = true;
  config.shape.kv_head_offset = 3;
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    config.rule.policy = policy;
    expect_oracles_victims(GetParam(), config, 22);
  }
}

TEST_P(Evict, SpecialNumbersGiveTheOraclesVictims) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    expect_oracles_victims(GetParam(), with_policy(policy), 23, Flavour::special, 120);
  }
}

TEST_P(Evict, PresetsAreTheirFields) {
  for (const Preset preset : {Preset::paper, Preset::authors, Preset::superseded, Preset::recall}) {
    SCOPED_TRACE(testing::Message() << "preset " << static_cast<int>(preset));
    Config config = small_config();
    config.rule = Rule{preset};
    expect_oracles_victims(GetParam(), config, 24, Flavour::repeated);
  }
}

TEST_P(Evict, RulesThatIgnoreQueriesNeedNone) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 25");
    Config config = with_policy(policy);
    config.rule.hash_source = HashSource::key;
    TestCache with{GetParam(), config};
    TestCache without{GetParam(), config};
    const Tokens tokens = Inputs{25}.draw(config, 50);
    const Outcome expected = with.run(Operation::evict, {{0, tokens}}).front();
    const Array k{GetParam(), DType::float32, {50, 2, 16}, tokens.k};
    const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 50}};
    const Array victims{GetParam(), DType::int32, {50, 2}};
    const Array importance{GetParam(), DType::float32, {50, 2}, tokens.importance};
    EvictArgs args;
    if (policy == Policy::importance) args.importance = importance.tensor();
    args.batch.cu_seqlens = starts.tensor();
    args.k = k.tensor();
    args.victims = victims.tensor();
    without.cache().evict(args, Stream{});
    EXPECT_EQ(victims.ints(), expected.victims);
  }
}

TEST_P(Evict, KeysAndValuesAreLeftToTheCaller) {
  SCOPED_TRACE("seed 26");
  const Config config = small_config();
  TestCache cache{GetParam(), config, Arrangement::strided};
  const auto before = cache.lent_bytes();
  cache.run(Operation::evict, {{0, Inputs{26}.draw(config, 50)}});
  EXPECT_TRUE(cache.lent_bytes() == before);
}

}  // namespace
}  // namespace hashevict::test
