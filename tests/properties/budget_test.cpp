// SPDX-License-Identifier: Apache-2.0
#include "properties/stream.hpp"
#include "support/backend_test.hpp"
#include "support/twins.hpp"

/// Budget >= sequence length: the output is bit-identical to attention over the plain, unbounded cache.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Budget);

/// A cache whose budget the sequence never reaches.
Config unbounded(Config config) {
  config.shape.capacity = 1000;
  return config;
}

TEST_P(Budget, OfTheLengthGivesTheUnboundedCachesBits) {
  for (const DType dtype : kFloats) {
    for (Config config : configs_of_every_rule(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", dtype "
                                      << static_cast<int>(dtype) << ", seed 1");
      config.shape.dtype = dtype;
      config.shape.head_dim = 80;
      config.shape.capacity = 60;
      TestCache bounded{GetParam(), config};
      TestCache plain{GetParam(), unbounded(config)};
      const Tokens tokens = Inputs{1}.draw(config, 60);
      const Outcome outcome = run_alone(bounded, 0, tokens, 25, 40);
      expect_same(outcome, run_alone(plain, 0, tokens, 25, 40));
      for (const int32_t victim : outcome.victims) EXPECT_EQ(victim, -1);
    }
  }
}

TEST_P(Budget, OfTheLengthGivesTheOraclesFullAttention) {
  SCOPED_TRACE("seed 2");
  Config config = small_config();
  config.shape.capacity = 60;
  Twins twins{GetParam(), config};
  Inputs inputs{2};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 40)}});
  twins.run(Operation::decode, {{0, inputs.draw(config, 20)}});
  twins.run(Operation::attend, {{0, inputs.draw(config, 60)}});
  twins.expect_same_state();
}

TEST_P(Budget, ThatCutsTheCacheIntoSplitsGivesTheUnboundedCachesBits) {
  SCOPED_TRACE("seed 3");
  Config config = small_config();
  config.shape.head_dim = 8;
  config.rule.hash_bits = 8;
  config.shape.capacity = 2100;
  config.execution.max_batch_tokens = 4096;
  Config larger = config;
  larger.shape.capacity = 5000;
  TestCache bounded{GetParam(), config};
  TestCache plain{GetParam(), larger};
  Inputs inputs{3};
  const Batch prompt{{0, inputs.draw(config, 2098)}};
  bounded.run(Operation::append, prompt);
  plain.run(Operation::append, prompt);
  const Batch steps{{0, inputs.draw(config, 2)}};
  expect_same(bounded.run(Operation::decode, steps).front(), plain.run(Operation::decode, steps).front());
}

TEST_P(Budget, BelowTheLengthChangesTheOutput) {
  SCOPED_TRACE("seed 4");  // shows that the cases above can fail
  Config config = small_config();
  TestCache bounded{GetParam(), config};
  TestCache plain{GetParam(), unbounded(config)};
  const Batch batch{{0, Inputs{4}.draw(config, 25)}};
  const Outcome a = bounded.run(Operation::decode, batch).front();
  const Outcome b = plain.run(Operation::decode, batch).front();
  EXPECT_EQ(reference::row(a.out, 23, 64), reference::row(b.out, 23, 64));
  EXPECT_NE(reference::row(a.out, 24, 64), reference::row(b.out, 24, 64));
}

}  // namespace
}  // namespace hashevict::test
