// SPDX-License-Identifier: Apache-2.0
// Each layer follows its own rule: `layer_rules` has the same effect on layer i as `rule` if all layers share that
// rule.
#include <gtest/gtest.h>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(LayerRules);

/// Rules of different kinds and code widths, one per layer, each with its own zones.
std::vector<Rule> rules_of_layers() {
  const Rule small = small_config().rule;
  std::vector<Rule> rules(8, small);
  rules[1] = Rule{Preset::superseded};  // 64 bits, half of the slots recent
  rules[2].policy = Policy::window;
  rules[2].hash_bits = 8;
  rules[3].policy = Policy::votes;
  rules[3].hash_bits = 32;
  rules[3].projection_kind = ProjectionKind::learned;
  rules[3].projection_per_head = 1;
  rules[4].policy = Policy::mean;
  rules[4].hash_bits = 128;
  rules[4].num_sink_tokens = 0;
  rules[5].hash_source = HashSource::key;
  rules[5].tie = Tie::lowest_slot;
  rules[5].pin_prompt = 1;
  rules[5].seed = 12;
  rules[6].policy = Policy::importance;
  rules[6].importance_slopes = 1;
  rules[7].policy = Policy::importance;
  rules[7].importance_source = ImportanceSource::key;
  return rules;
}

Config with_layer_rules() {
  Config config = small_config();
  config.layer_rules = rules_of_layers();
  config.shape.num_layers = static_cast<int32_t>(config.layer_rules.size());
  config.shape.capacities = capacities_of_layers({24, 20, 33, 24, 70, 24, 24, 27}, config.shape.num_kv_heads);
  return config;
}

TEST_P(LayerRules, GiveEachLayerWhatItsRuleAloneGives) {
  const Config config = with_layer_rules();
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    SCOPED_TRACE(testing::Message() << "layer " << layer << ", seed " << layer);
    Config alone = config;
    alone.layer_rules.clear();
    alone.rule = config.layer_rules[static_cast<std::size_t>(layer)];
    TestCache together{GetParam(), config};
    TestCache apart{GetParam(), alone};
    const Tokens tokens = Inputs{static_cast<uint32_t>(layer)}.draw(config, 100);
    for (const Operation operation : {Operation::prefill, Operation::append, Operation::decode}) {
      const std::size_t begin = operation == Operation::prefill ? 0 : operation == Operation::append ? 40 : 70;
      const Batch batch{{1, slice(config, tokens, begin, 30)}};
      Options options;
      options.layer = layer;
      expect_same(together.run(operation, batch, options).front(), apart.run(operation, batch, options).front());
    }
    expect_same(together.state(layer, 1), apart.state(layer, 1));
  }
}

}  // namespace
}  // namespace hashevict::test
