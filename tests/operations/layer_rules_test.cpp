// SPDX-License-Identifier: Apache-2.0
// Caches whose layers have different rules: policies, code widths, protected zones, centres and projections.
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(LayerRules);

Config mixed() {
  Config config = small_config();
  config.shape.num_layers = 7;
  config.shape.capacities = capacities_of_layers({24, 17, 30, 21, 24, 23, 26}, config.shape.num_kv_heads);
  config.layer_rules.assign(7, config.rule);
  config.layer_rules[1].policy = Policy::window;
  config.layer_rules[1].hash_bits = 8;
  config.layer_rules[2].policy = Policy::superseded;
  config.layer_rules[2].hash_bits = 128;
  config.layer_rules[2].recent_fraction = 0.5F;
  config.layer_rules[3].policy = Policy::mean;
  config.layer_rules[3].hash_bits = 64;
  config.layer_rules[3].centering = Centering::prompt;
  config.layer_rules[3].projection_per_head = 1;
  config.layer_rules[4].policy = Policy::votes;
  config.layer_rules[4].hash_bits = 32;
  config.layer_rules[4].pin_prompt = 1;
  config.layer_rules[4].projection_kind = ProjectionKind::learned;
  config.layer_rules[4].projection_per_head = 1;
  config.layer_rules[5].policy = Policy::importance;
  config.layer_rules[5].importance_slopes = 1;
  config.layer_rules[6].policy = Policy::importance;
  config.layer_rules[6].importance_source = ImportanceSource::key;
  return config;
}

void run_layers(Twins& twins, Operation operation, int32_t sequence, Inputs& inputs, std::size_t count,
                Options options = {}) {
  const Config& config = twins.cache.config();
  for (options.layer = 0; options.layer < config.shape.num_layers; ++options.layer) {
    twins.run(operation, {{sequence, inputs.draw(config, count)}}, options);
  }
}

TEST_P(LayerRules, GiveTheOraclesVictimsInEveryOperationAndPromptMode) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)) + ", seed 1");
    Twins twins{GetParam(), mixed(), Arrangement::padded_pages};
    Inputs inputs{1};
    Options options;
    options.mode = mode;
    options.window = 6;
    run_layers(twins, Operation::prefill, 1, inputs, 40, options);
    run_layers(twins, Operation::decode, 1, inputs, 6);
    run_layers(twins, Operation::append, 0, inputs, 33);
    run_layers(twins, Operation::attend, 0, inputs, 1);
    twins.expect_same_state();
  }
}

TEST_P(LayerRules, GoOnFromASnapshotAndAFork) {
  SCOPED_TRACE("seed 2");
  Twins twins{GetParam(), mixed()};
  Inputs inputs{2};
  run_layers(twins, Operation::prefill, 0, inputs, 35);
  const std::vector<std::byte> saved = twins.cache.cache().save(0, Stream{});
  run_layers(twins, Operation::append, 1, inputs, 5);
  twins.cache.cache().load(1, saved.data(), saved.size(), Stream{});
  twins.fork_oracle(0, 1);
  run_layers(twins, Operation::append, 1, inputs, 12);
  twins.cache.cache().fork(1, 0, Stream{});
  twins.fork_oracle(1, 0);
  run_layers(twins, Operation::append, 0, inputs, 12);
  twins.expect_same_state();
}

TEST_P(LayerRules, OfAnotherCacheRefuseItsSnapshot) {
  TestCache source{GetParam(), mixed()};
  const std::vector<std::byte> saved = source.cache().save(0, Stream{});
  Config other = mixed();
  other.layer_rules[2].policy = Policy::hash;
  TestCache target{GetParam(), other};
  try {
    target.cache().load(0, saved.data(), saved.size(), Stream{});
    FAIL() << "load() took a snapshot of another rule";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_data);
    EXPECT_NE(std::string{error.what()}.find("layer 2 saved with policy = 3: expected 0"), std::string::npos)
        << error.what();
  }
}

TEST_P(LayerRules, HaveProjectionsOfTheirOwnShape) {
  const Config config = mixed();
  TestCache cache{GetParam(), config};
  std::vector<float> shared(8 * 16);
  std::vector<float> per_head(2 * 64 * 16);
  const Cache& taken = cache.cache();
  taken.get_projection(1, Tensor{shared.data(), {8, 16}});
  taken.get_projection(3, Tensor{per_head.data(), {2, 64, 16}});
  EXPECT_THROW(taken.get_projection(0, Tensor{shared.data(), {8, 16}}), Error);
  EXPECT_THROW(taken.get_projection(2, Tensor{per_head.data(), {2, 64, 16}}), Error);
}

}  // namespace
}  // namespace hashevict::test
