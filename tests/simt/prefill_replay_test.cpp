// SPDX-License-Identifier: Apache-2.0
// Replays of prompts whose steps are prepared 32 at a time: the ends of chunks, few slots, many slots of one bucket.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/twins.hpp"

namespace hashevict::test {
namespace {

/// Draws below `end`.
class Dice {
 public:
  explicit Dice(uint32_t seed) : engine_{seed} {}
  int32_t below(int32_t end) { return static_cast<int32_t>(engine_() % static_cast<uint32_t>(end)); }
  template <class T, std::size_t count>
  T pick(const T (&list)[count]) {
    return list[below(static_cast<int32_t>(count))];
  }

 private:
  std::mt19937 engine_;
};

/// A cache of one layer whose heads have 1 to 130 slots of their own.
Config random_heads(Dice& dice, Policy policy) {
  Config config = small_config();
  config.shape.num_kv_heads = 2;
  config.shape.num_qo_heads = 2 * dice.pick({1, 2, 4, 5});
  config.shape.head_dim = 8 * (1 + dice.below(2));
  config.shape.capacities = {1 + dice.below(130), 1 + dice.below(130)};
  const int32_t fewest = std::min(config.shape.capacities[0], config.shape.capacities[1]);
  config.rule.num_sink_tokens = dice.below(std::min(fewest, 5));
  config.rule.recent_window = dice.below(fewest - config.rule.num_sink_tokens);
  config.rule.policy = policy;
  config.rule.hash_source = dice.pick({HashSource::query, HashSource::key});
  config.rule.hash_bits = dice.pick({8, 16, 32, 64, 128});
  config.rule.tie = dice.pick({Tie::oldest, Tie::lowest_slot});
  config.execution.max_batch_tokens = 1024;
  return config;
}

TEST(DeviceReplay, ChunksOfAnyLengthGiveTheOraclesState) {
  for (const Policy policy : kPolicies) {
    for (uint32_t seed = 1; seed <= 3; ++seed) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed " << seed);
      Dice dice{seed};
      Inputs inputs{seed};
      const Config config = random_heads(dice, policy);
      Twins twins{Backend::cuda, config};
      Options options;
      options.attention = PrefillAttention::streamed;  // which looks at the deaths that a replay notes
      for (int call = 0; call < 3; ++call) {
        const auto count = static_cast<std::size_t>(dice.pick({1, 2, 31, 32, 33, 63, 64, 65, 95, 96, 97, 150}));
        const Flavour flavour = dice.pick({Flavour::normal, Flavour::biased, Flavour::repeated});
        twins.run(Operation::prefill, {{0, inputs.draw(config, count, DType::float32, flavour)}}, options);
        twins.expect_same_state();
        if (HasFailure()) return;
      }
      twins.run(Operation::append, {{0, inputs.draw(config, 5)}});
      twins.expect_same_state();
    }
  }
}

/// Buckets of six slots, of which a chunk sometimes takes three.
TEST(DeviceReplay, ManySlotsInABucketGiveTheOraclesState) {
  for (const Policy policy : {Policy::hash, Policy::superseded, Policy::mean, Policy::votes}) {
    for (const int32_t bits : {8, 64}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", bits " << bits);
      Config config = small_config();
      config.shape.num_qo_heads = 2;
      config.shape.num_kv_heads = 1;
      config.shape.head_dim = 8;
      config.shape.capacity = 700;
      config.rule.policy = policy;
      config.rule.hash_bits = bits;
      config.rule.tie = bits == 8 ? Tie::oldest : Tie::lowest_slot;
      config.execution.max_batch_tokens = 1024;
      Twins twins{Backend::cuda, config};
      Inputs inputs{static_cast<uint32_t>(bits)};
      Options fill;
      fill.mode = PrefillMode::recent;
      twins.run(Operation::prefill, {{0, inputs.draw(config, 690)}}, fill);
      twins.run(Operation::prefill, {{0, inputs.draw(config, 200)}});
      twins.expect_same_state();
      twins.run(Operation::append, {{0, inputs.draw(config, 2)}});
      twins.expect_same_state();
    }
  }
}

/// Heads whose slots stay in global memory, with more recent slots than a chunk has tokens.
TEST(DeviceReplay, SlotsBeyondSharedMemoryGiveTheOraclesState) {
  for (const Policy policy : {Policy::hash, Policy::superseded}) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = small_config();
    config.shape.num_qo_heads = 2;
    config.shape.num_kv_heads = 1;
    config.shape.head_dim = 8;
    config.shape.capacity = 2700;
    config.rule.policy = policy;
    config.rule.hash_bits = 128;
    config.rule.recent_window = 70;
    config.rule.tie = policy == Policy::hash ? Tie::oldest : Tie::lowest_slot;
    config.execution.max_batch_tokens = 4096;
    Twins twins{Backend::cuda, config};
    Inputs inputs{11};
    Options fill;
    fill.mode = PrefillMode::recent;
    twins.run(Operation::prefill, {{0, inputs.draw(config, 2680)}}, fill);
    twins.run(Operation::prefill, {{0, inputs.draw(config, 140)}});
    twins.expect_same_state();
  }
}

/// The most probes whose scores are computed together, and more.
TEST(DeviceReplay, AnyNumberOfQueriesGivesTheOraclesState) {
  Config config = small_config();
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = 32;
  config.shape.head_dim = 8;
  config.rule.hash_bits = 128;
  for (const int32_t group : {32, 40}) {  // 40: more probes than a scan takes
    config.shape.num_qo_heads = group;
    Twins twins{Backend::cuda, config};
    Inputs inputs{9};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 100)}});
    twins.expect_same_state();
  }
}

}  // namespace
}  // namespace hashevict::test
