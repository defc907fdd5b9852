// SPDX-License-Identifier: Apache-2.0
#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Sequence);

Config two_layers(Policy policy) {
  Config config = small_config();
  config.shape.num_layers = 2;
  config.shape.num_sequences = 3;
  config.shape.capacities = capacities_of_layers({16, 24}, config.shape.num_kv_heads);
  config.rule.policy = policy;
  config.rule.pin_prompt = true;
  config.rule.centering = Centering::prompt;
  return config;
}

/// Makes one call on every layer.
void run_layers(Twins& twins, Operation operation, int32_t sequence, Inputs& inputs, std::size_t count) {
  Options options;
  options.output = DType::float32;
  for (; options.layer < twins.cache.config().shape.num_layers; ++options.layer) {
    twins.run(operation, {{sequence, inputs.draw(twins.cache.config(), count, DType::float32, Flavour::biased)}},
              options);
  }
}

TEST_P(Sequence, ResetMakesItNew) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 1");
    Twins twins{GetParam(), two_layers(policy)};
    Inputs inputs{1};
    for (const int32_t sequence : {0, 1}) run_layers(twins, Operation::prefill, sequence, inputs, 40);
    const State untouched = twins.cache.state(1, 0);
    twins.cache.cache().reset(1, Stream{});
    twins.reset_oracle(1);
    EXPECT_EQ(twins.cache.state(1, 1).tokens_seen, 0);
    EXPECT_EQ(twins.cache.state(1, 1).positions, std::vector<int32_t>(48, -1));
    expect_same(twins.cache.state(1, 0), untouched);
    run_layers(twins, Operation::prefill, 1, inputs, 30);  // with its own centre: the old one is gone
    run_layers(twins, Operation::decode, 1, inputs, 30);
    twins.expect_same_state();
  }
}

TEST_P(Sequence, ResetOfAllMakesAllNew) {
  SCOPED_TRACE("seed 2");
  Twins twins{GetParam(), two_layers(Policy::superseded)};
  Inputs inputs{2};
  for (const int32_t sequence : {0, 2}) run_layers(twins, Operation::prefill, sequence, inputs, 30);
  twins.cache.cache().reset(Stream{});
  for (const int32_t sequence : {0, 1, 2}) {
    twins.reset_oracle(sequence);
    EXPECT_EQ(twins.cache.state(0, sequence).tokens_seen, 0);
    run_layers(twins, Operation::append, sequence, inputs, 40);
  }
  twins.expect_same_state();
}

/// More slots than kMostSplits splits of the smallest size have on a device.
TEST_P(Sequence, OfAPromptAboveTheSplitsOfTheSmallestSizeContinuesInItsFork) {
  SCOPED_TRACE("seed 6");
  Config config = small_config();
  config.shape.num_qo_heads = config.shape.num_kv_heads = 1;
  config.shape.head_dim = 8;
  config.shape.capacity = 8200;
  config.rule.policy = Policy::superseded;
  config.rule.hash_bits = 8;
  config.execution.max_batch_tokens = 8210;
  Options options;
  options.mode = PrefillMode::recent;
  Twins twins{GetParam(), config};
  Inputs inputs{6};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 8210)}}, options);
  twins.cache.cache().fork(0, 1, Stream{});
  twins.fork_oracle(0, 1);
  twins.run(Operation::decode, {{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 3)}});
  twins.expect_same_state();
}

TEST_P(Sequence, ForkContinuesLikeItsSource) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 3");
    Twins twins{GetParam(), two_layers(policy)};
    Inputs inputs{3};
    run_layers(twins, Operation::prefill, 0, inputs, 35);
    run_layers(twins, Operation::append, 0, inputs, 9);
    run_layers(twins, Operation::prefill, 2, inputs, 50);  // the target's earlier contents are gone
    twins.cache.cache().fork(0, 2, Stream{});
    twins.fork_oracle(0, 2);
    twins.expect_same_state();
    run_layers(twins, Operation::decode, 2, inputs, 30);
    run_layers(twins, Operation::decode, 0, inputs, 30);
    twins.expect_same_state();
  }
}

TEST_P(Sequence, ForkOfAShortSequenceShortensItsTarget) {
  SCOPED_TRACE("seed 4");
  Twins twins{GetParam(), two_layers(Policy::hash)};
  Inputs inputs{4};
  run_layers(twins, Operation::append, 0, inputs, 3);
  run_layers(twins, Operation::append, 1, inputs, 40);
  twins.cache.cache().fork(0, 1, Stream{});
  twins.fork_oracle(0, 1);
  twins.expect_same_state();
}

TEST_P(Sequence, ForkCopiesInEveryArrangement) {
  for (const Arrangement arrangement : kArrangements) {
    SCOPED_TRACE(testing::Message() << "arrangement " << static_cast<int>(arrangement) << ", seed 5");
    Twins twins{GetParam(), two_layers(Policy::hash), arrangement};
    Inputs inputs{5};
    run_layers(twins, Operation::append, 1, inputs, 40);
    twins.cache.cache().fork(1, 0, Stream{});
    twins.fork_oracle(1, 0);
    run_layers(twins, Operation::decode, 0, inputs, 5);
    twins.expect_same_state();
  }
}

TEST_P(Sequence, LoadContinuesLikeWhatWasSaved) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 6");
    Twins twins{GetParam(), two_layers(policy)};
    Inputs inputs{6};
    run_layers(twins, Operation::prefill, 0, inputs, 35);
    run_layers(twins, Operation::append, 0, inputs, 9);
    run_layers(twins, Operation::append, 1, inputs, 50);
    const auto saved = twins.cache.cache().save(0, Stream{});
    twins.cache.cache().load(1, saved.data(), saved.size(), Stream{});
    twins.fork_oracle(0, 1);
    run_layers(twins, Operation::decode, 0, inputs, 12);
    run_layers(twins, Operation::decode, 1, inputs, 30);
    twins.expect_same_state();
  }
}

TEST_P(Sequence, LoadReadsWhatAnotherArrangementSaved) {
  for (const Arrangement from : kArrangements) {
    for (const Arrangement to : kArrangements) {
      SCOPED_TRACE(testing::Message() << "from " << static_cast<int>(from) << " to " << static_cast<int>(to)
                                      << ", seed 7");
      Config config = two_layers(Policy::superseded);
      config.shape.dtype = DType::bfloat16;
      TestCache source{GetParam(), config, from};
      config.shape.num_sequences = 2;
      config.placement.layout = Layout::slot_major;
      TestCache target{GetParam(), config, to};
      Inputs inputs{7};
      Options options;
      for (; options.layer < 2; ++options.layer)
        source.run(Operation::prefill, {{2, inputs.draw(config, 40)}}, options);
      const auto saved = source.cache().save(2, Stream{});
      target.cache().load(1, saved.data(), saved.size(), Stream{});
      for (options.layer = 0; options.layer < 2; ++options.layer) {
        const Tokens tokens = inputs.draw(config, 20);
        expect_same(target.run(Operation::decode, {{1, tokens}}, options).front(),
                    source.run(Operation::decode, {{2, tokens}}, options).front());
        expect_same(target.state(options.layer, 1), source.state(options.layer, 2));
      }
    }
  }
}

TEST_P(Sequence, SaveOfAnEmptySequenceEmptiesWhatLoadsIt) {
  SCOPED_TRACE("seed 8");
  Twins twins{GetParam(), two_layers(Policy::mean)};
  Inputs inputs{8};
  run_layers(twins, Operation::append, 1, inputs, 30);
  const auto saved = twins.cache.cache().save(0, Stream{});
  EXPECT_LE(saved.size(), twins.cache.cache().save_bytes());
  twins.cache.cache().load(1, saved.data(), saved.size(), Stream{});
  twins.reset_oracle(1);
  EXPECT_EQ(twins.cache.state(0, 1).tokens_seen, 0);
  run_layers(twins, Operation::prefill, 1, inputs, 30);
  twins.expect_same_state();
}

TEST_P(Sequence, StatisticsCountWhatWasEvicted) {
  SCOPED_TRACE("seed 9");
  Config config = two_layers(Policy::hash);
  config.shape.dtype = DType::bfloat16;
  TestCache cache{GetParam(), config};
  Inputs inputs{9};
  Options options;
  options.layer = 1;
  cache.run(Operation::prefill, {{0, inputs.draw(config, 40)}, {2, inputs.draw(config, 10)}}, options);
  cache.run(Operation::decode, {{0, inputs.draw(config, 2)}}, options);
  const Statistics one = cache.cache().statistics(1, -1, 0, Stream{});
  EXPECT_EQ(one.tokens_seen, 2 * 42);  // of two heads
  EXPECT_EQ(one.slots_used, 2 * 24);
  EXPECT_EQ(one.slots_total, 2 * 24);
  EXPECT_EQ(one.evictions, 2 * 18);
  EXPECT_EQ(one.kv_bytes, 24U * 2 * 2 * 16 * 2);  // slots, keys and values, heads, elements, bytes
  EXPECT_EQ(one.kv_bytes_full, 42U * 2 * 2 * 16 * 2);
  const Statistics all = cache.cache().statistics(Stream{});
  EXPECT_EQ(all.tokens_seen, 2 * 52);
  EXPECT_EQ(all.slots_used, 2 * 34);
  EXPECT_EQ(all.slots_total, 2 * 3 * (16 + 24));
  EXPECT_EQ(all.evictions, 2 * 18);
}

TEST_P(Sequence, StatisticsOfAHeadCountItsOwnSlots) {
  SCOPED_TRACE("seed 10");
  const Config config = ragged_config();
  TestCache cache{GetParam(), config};
  cache.run(Operation::append, {{1, Inputs{10}.draw(config, 42)}});
  const Statistics small = cache.cache().statistics(0, 0, 1, Stream{});
  EXPECT_EQ(small.tokens_seen, 42);
  EXPECT_EQ(small.slots_used, 8);
  EXPECT_EQ(small.slots_total, 8);
  EXPECT_EQ(small.evictions, 34);
  EXPECT_EQ(small.kv_bytes, 8U * 2 * 16 * 4);
  const Statistics large = cache.cache().statistics(0, 1, 1, Stream{});
  EXPECT_EQ(large.slots_used, 42);
  EXPECT_EQ(large.slots_total, 70);
  EXPECT_EQ(large.evictions, 0);
  const Statistics all = cache.cache().statistics(-1, 1, -1, Stream{});
  EXPECT_EQ(all.slots_used, 42);
  EXPECT_EQ(all.slots_total, 2 * (70 + 24));
}

TEST_P(Sequence, OfRaggedHeadsIsForkedAndSavedWhole) {
  SCOPED_TRACE("seed 11");
  for (const Arrangement arrangement : kRaggedArrangements) {
    const Config config = ragged_config();
    Twins twins{GetParam(), config, arrangement};
    Inputs inputs{11};
    for (int32_t layer = 0; layer < 2; ++layer) {
      Options options;
      options.layer = layer;
      twins.run(Operation::append, {{0, inputs.draw(config, 40)}}, options);
    }
    twins.cache.cache().fork(0, 1, Stream{});
    twins.fork_oracle(0, 1);
    twins.expect_same_state();
    const auto saved = twins.cache.cache().save(1, Stream{});
    twins.cache.cache().reset(0, Stream{});
    twins.cache.cache().load(0, saved.data(), saved.size(), Stream{});
    twins.expect_same_state();
    twins.run(Operation::decode, {{0, inputs.draw(config, 3)}, {1, inputs.draw(config, 60)}});
    twins.expect_same_state();
  }
}

}  // namespace
}  // namespace hashevict::test
