// SPDX-License-Identifier: Apache-2.0
#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// A shard of the heads does exactly the same as the whole model: nothing depends on a cache's number of heads, layers
/// or sequences.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Shards);

/// A shard's columns of `[tokens, heads, width]`.
template <class T>
std::vector<T> columns(const std::vector<T>& all, std::size_t heads, std::size_t first, std::size_t count,
                       std::size_t width) {
  std::vector<T> result;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::size_t head = i / width % heads;
    if (head >= first && head < first + count) result.push_back(all[i]);
  }
  return result;
}

TEST_P(Shards, OfTheHeadsEvictWhatTheWholeDoes) {
  for (const bool projection_per_head : {false, true}) {
    for (const Config& base : configs_of_every_rule(small_config())) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(base.rule.policy) << ", projection_per_head "
                                      << projection_per_head << ", seed 1");
      Config config = base;
      config.shape.num_kv_heads = 5;
      config.shape.num_qo_heads = 15;
      config.shape.kv_head_offset = 10;
      config.rule.projection_per_head = projection_per_head;
      const Tokens tokens = Inputs{1}.draw(config, 80);
      TestCache whole{GetParam(), config};
      const Outcome expected = run_alone(whole, 0, tokens, 30, 50);
      for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 2}, {2, 1}, {3, 2}}) {
        Config part = config;
        part.shape.num_kv_heads = static_cast<int32_t>(count);
        part.shape.num_qo_heads = static_cast<int32_t>(3 * count);
        part.shape.kv_head_offset = 10 + static_cast<int32_t>(first);
        TestCache rank{GetParam(), part};
        const Outcome outcome = run_alone(rank, 0, shard(config, tokens, first, count), 30, 50);
        expect_same(outcome,
                    Outcome{columns(expected.slots, 5, first, count, 1), columns(expected.victims, 5, first, count, 1),
                            columns(expected.out, 15, 3 * first, 3 * count, 16),
                            columns(expected.lse, 15, 3 * first, 3 * count, 1)});
      }
    }
  }
}

TEST_P(Shards, OfRaggedHeadsEvictWhatTheWholeDoes) {
  for (const Policy policy : {Policy::random, Policy::superseded}) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 4");
    Config config = small_config();
    config.shape.num_kv_heads = 4;
    config.shape.num_qo_heads = 8;
    config.rule.policy = policy;
    config.rule.recent_fraction = 0.25F;
    config.shape.capacities = {9, 70, 25, 24};
    const Tokens tokens = Inputs{4}.draw(config, 80);
    TestCache whole{GetParam(), config};
    const Outcome expected = run_alone(whole, 0, tokens, 30, 50);
    for (const std::size_t first : {std::size_t{0}, std::size_t{2}}) {
      Config part = config;
      part.shape.num_kv_heads = 2;
      part.shape.num_qo_heads = 4;
      part.shape.kv_head_offset = static_cast<int32_t>(first);
      part.shape.capacities = {config.shape.capacities[first], config.shape.capacities[first + 1]};
      for (const Arrangement arrangement : {Arrangement::owned, Arrangement::csr_head_pages}) {
        TestCache rank{GetParam(), part, arrangement};
        const Outcome outcome = run_alone(rank, 0, shard(config, tokens, first, 2), 30, 50);
        expect_same(outcome,
                    Outcome{columns(expected.slots, 4, first, 2, 1), columns(expected.victims, 4, first, 2, 1),
                            columns(expected.out, 8, 2 * first, 4, 16), columns(expected.lse, 8, 2 * first, 4, 1)});
      }
    }
  }
}

TEST_P(Shards, AtAnotherOffsetDifferWhereNumbersAreRandom) {
  for (const bool random_policy : {true, false}) {
    SCOPED_TRACE("seed 2");  // shows that the case above can fail
    Config config = small_config();
    config.rule.policy = random_policy ? Policy::random : Policy::hash;
    config.rule.projection_per_head = !random_policy;
    const Tokens tokens = Inputs{2}.draw(config, 80);
    TestCache here{GetParam(), config};
    config.shape.kv_head_offset = 2;
    TestCache there{GetParam(), config};
    EXPECT_NE(run_alone(here, 0, tokens, 30, 50).victims, run_alone(there, 0, tokens, 30, 50).victims);
  }
}

TEST_P(Shards, OfSequencesAndLayersDoWhatTheWholeDoes) {
  SCOPED_TRACE("seed 3");
  Config config = small_config();
  config.rule.policy = Policy::random;
  config.shape.num_layers = 3;
  config.shape.num_sequences = 4;
  const Tokens tokens = Inputs{3}.draw(config, 80);
  TestCache large{GetParam(), config};
  const Outcome expected = run_alone(large, 3, tokens, 30, 50);
  config.shape.num_layers = 1;
  config.shape.num_sequences = 1;
  TestCache small{GetParam(), config};
  expect_same(run_alone(small, 0, tokens, 30, 50), expected);
}

}  // namespace
}  // namespace hashevict::test
