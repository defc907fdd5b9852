// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Evict);

/// Streams tokens of two ragged sequences through evict() in rows of several tokens, and compares with the oracle.
void expect_oracles_victims(Backend backend, const Config& config, uint32_t seed, Flavour flavour = Flavour::normal,
                            std::size_t num_tokens = 70) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Twins twins{backend, config};
  Inputs inputs{seed};
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
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
  config.policy = policy;
  return config;
}

constexpr Policy kPolicies[] = {Policy::hash, Policy::window,   Policy::random,    Policy::key_norm,
                                Policy::mean, Policy::majority, Policy::superseded};

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
  config.hash_source = HashSource::key;
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
  config.seed = 0xFEDCBA9876543210U;
  config.kv_head_offset = 6;
  config.num_layers = 3;
  expect_oracles_victims(GetParam(), config, 6);
}

TEST_P(Evict, KeyNormEvictsTheLargest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::key_norm), 7);
}

TEST_P(Evict, KeyNormIsOneFmaAnElementInOrder) {
  SCOPED_TRACE("seed 27");
  Config config = with_policy(Policy::key_norm);
  config.head_dim = 64;
  Twins twins{GetParam(), config};
  Inputs inputs{27};
  Tokens tokens = inputs.draw(config, 120);
  const std::vector<float> vector = inputs.floats(64);
  std::mt19937 random{27};
  for (auto key = tokens.k.begin(); key != tokens.k.end(); key += 64) {  // of one norm but for the rounding on the way
    std::copy(vector.begin(), vector.end(), key);
    std::shuffle(key, key + 64, random);
  }
  twins.run(Operation::evict, {{0, tokens}});
}

TEST_P(Evict, KeyNormIsOfTheInputBeforeItIsRounded) {
  SCOPED_TRACE("seed 28");
  Config config = with_policy(Policy::key_norm);
  config.dtype = DType::bfloat16;
  Twins twins{GetParam(), config};
  Inputs inputs{28};
  Tokens tokens = inputs.draw(config, 80);
  for (float& element : tokens.k) element = 1.0F + 0x1p-14F * element;  // all stored as 1
  twins.run(Operation::append, {{0, tokens}});
}

TEST_P(Evict, MeanEvictsTheClosest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::mean), 8, Flavour::biased);
}

TEST_P(Evict, MajorityEvictsTheClosest) {
  expect_oracles_victims(GetParam(), with_policy(Policy::majority), 9);
}

TEST_P(Evict, SupersededEvictsTheRepeated) {
  expect_oracles_victims(GetParam(), with_policy(Policy::superseded), 10);
}

TEST_P(Evict, EveryWidthOfCodeGivesTheOraclesVictims) {
  for (const Policy policy : kPolicies) {
    for (const int32_t bits : {8, 16, 32, 64, 128}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", hash_bits " << bits);
      Config config = with_policy(policy);
      config.hash_bits = bits;
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
    config.tie = Tie::lowest_slot;
    expect_oracles_victims(GetParam(), config, 13, Flavour::repeated, 120);
  }
}

TEST_P(Evict, EveryGroupSizeSumsItsQueries) {
  for (const int32_t group : {1, 2, 3, 4, 7, 8}) {
    SCOPED_TRACE(testing::Message() << "group_size " << group);
    Config config = small_config();
    config.num_qo_heads = group * config.num_kv_heads;
    config.hash_bits = 8;
    expect_oracles_victims(GetParam(), config, 14);
  }
}

TEST_P(Evict, EveryHeadSizeGivesTheOraclesVictims) {
  for (const int32_t dim : {8, 24, 64, 80, 96, 112, 128, 160, 192, 256}) {
    SCOPED_TRACE(testing::Message() << "head_dim " << dim);
    Config config = small_config();
    config.head_dim = dim;
    expect_oracles_victims(GetParam(), config, 15, Flavour::normal, 40);
  }
}

TEST_P(Evict, EveryCapacityFromTheSmallestGivesTheOraclesVictims) {
  for (const int32_t capacity : {8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 200}) {
    SCOPED_TRACE(testing::Message() << "capacity " << capacity);
    Config config = small_config();
    config.capacity = capacity;
    config.hash_bits = 8;
    expect_oracles_victims(GetParam(), config, 16, Flavour::normal, static_cast<std::size_t>(capacity) + 30);
  }
}

TEST_P(Evict, OneSlotWithNothingProtectedHoldsTheLastToken) {
  Config config = small_config();
  config.capacity = 1;
  config.num_sink_tokens = 0;
  config.recent_window = 0;
  expect_oracles_victims(GetParam(), config, 17);
}

TEST_P(Evict, ProtectedZonesAreSpared) {
  for (const auto& [sink, recent] : {std::pair{0, 0}, {0, 23}, {23, 0}, {11, 12}, {1, 7}}) {
    SCOPED_TRACE(testing::Message() << "sink " << sink << ", recent " << recent);
    Config config = small_config();
    config.num_sink_tokens = sink;
    config.recent_window = recent;
    expect_oracles_victims(GetParam(), config, 18);
  }
}

TEST_P(Evict, FractionsAreOfEachLayersCapacity) {
  Config config = small_config();
  config.num_layers = 3;
  config.layer_capacities = {20, 37, 61};
  config.sink_fraction = 0.1F;
  config.recent_fraction = 0.5F;
  expect_oracles_victims(GetParam(), config, 19, Flavour::normal, 110);
}

TEST_P(Evict, LayersHaveTheirOwnCapacities) {
  Config config = small_config();
  config.num_layers = 3;
  config.layer_capacities = {9, 40, 16};
  expect_oracles_victims(GetParam(), config, 20);
}

TEST_P(Evict, DecayAveragesOverSteps) {
  for (int32_t shift = 1; shift <= 8; ++shift) {
    for (const HashSource source : {HashSource::query, HashSource::key}) {
      SCOPED_TRACE(testing::Message() << "score_decay_shift " << shift << ", source " << static_cast<int>(source));
      Config config = small_config();
      config.score_decay_shift = shift;
      config.hash_source = source;
      expect_oracles_victims(GetParam(), config, 21);
    }
  }
}

TEST_P(Evict, ProjectionsPerHeadGiveTheOraclesVictims) {
  Config config = small_config();
  config.projection_per_head = true;
  config.kv_head_offset = 3;
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    config.policy = policy;
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
    config.apply(preset);
    expect_oracles_victims(GetParam(), config, 24, Flavour::repeated);
  }
}

TEST_P(Evict, RulesThatIgnoreQueriesNeedNone) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 25");
    Config config = with_policy(policy);
    config.hash_source = HashSource::key;
    TestCache with{GetParam(), config};
    TestCache without{GetParam(), config};
    const Tokens tokens = Inputs{25}.draw(config, 50);
    const Outcome expected = with.run(Operation::evict, {{0, tokens}}).front();
    const Array k{GetParam(), DType::float32, {50, 2, 16}, tokens.k};
    const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 50}};
    const Array victims{GetParam(), DType::int32, {50, 2}};
    Step step;
    step.cu_seqlens = starts.tensor();
    step.k = k.tensor();
    step.victims = victims.tensor();
    without.cache().evict(step, Stream{});
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
