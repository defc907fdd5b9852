// SPDX-License-Identifier: Apache-2.0
#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Decode);

TEST_P(Decode, EveryPolicyGivesTheOraclesStateAndAttention) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 1");
    Config config = small_config();
    config.rule.policy = policy;
    Twins twins{GetParam(), config};
    Inputs inputs{1};
    for (int step = 0; step < 45; ++step) {
      twins.run(Operation::decode, {{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}});
    }
    twins.expect_same_state();
  }
}

TEST_P(Decode, PresetsGiveTheOraclesStateAndAttention) {
  for (const Preset preset : {Preset::paper, Preset::authors, Preset::superseded, Preset::recall}) {
    SCOPED_TRACE(testing::Message() << "preset " << static_cast<int>(preset) << ", seed 2");
    Config config = small_config();
    config.rule = Rule{preset};
    config.shape.head_dim = 64;
    config.shape.dtype = DType::bfloat16;
    Twins twins{GetParam(), config};
    Inputs inputs{2};
    Options options;
    options.input = DType::bfloat16;
    options.output = DType::bfloat16;
    twins.run(Operation::prefill, {{0, inputs.draw(config, 40, options.input)}}, options);
    for (int step = 0; step < 20; ++step) {
      twins.run(Operation::decode, {{0, inputs.draw(config, 1, options.input)}}, options);
    }
    twins.expect_same_state();
  }
}

TEST_P(Decode, EveryStorageAndInputTypeGivesTheOraclesAttention) {
  for (const DType storage : kFloats) {
    for (const DType input : kFloats) {
      SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(storage) << ", input "
                                      << static_cast<int>(input) << ", seed 3");
      Config config = small_config();
      config.shape.dtype = storage;
      config.shape.head_dim = 80;
      Twins twins{GetParam(), config};
      Inputs inputs{3};
      Options options;
      options.input = input;
      twins.run(Operation::decode, {{1, inputs.draw(config, 35, input)}}, options);
      twins.expect_same_state();
    }
  }
}

TEST_P(Decode, ScaleSoftCapAndOutputTypeReachTheAttention) {
  SCOPED_TRACE("seed 4");
  const Config config = small_config();
  Twins twins{GetParam(), config};
  Inputs inputs{4};
  Options options;
  options.softmax_scale = 0.7F;
  options.logit_soft_cap = 4.0F;
  options.output = DType::float16;
  twins.run(Operation::decode, {{0, inputs.draw(config, 40)}}, options);
}

// The cases that kernels compute on tensor cores, over two splits of a head.
TEST_P(Decode, GroupsWhoseQueriesHaveTheStoredTypeAreWithinTheBound) {
  for (const DType storage : kHalves) {
    for (const int32_t group : {4, 9}) {
      SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(storage) << ", group_size " << group);
      Config config = small_config();
      config.shape.num_layers = 1;
      config.shape.num_qo_heads = group * config.shape.num_kv_heads;
      config.shape.dtype = storage;
      config.shape.capacity = 300;
      config.execution.max_batch_tokens = 512;
      Twins twins{GetParam(), config};
      Inputs inputs{8};
      Options options;
      options.input = storage;
      const auto draw = [&](std::size_t count) { return inputs.draw(config, count, storage); };
      twins.run(Operation::append, {{0, draw(299)}, {1, draw(40)}}, options);
      for (int step = 0; step < 4; ++step) {
        twins.run(Operation::decode, {{1, draw(1)}, {0, draw(1)}}, options);
      }
      twins.run(Operation::decode, {{0, draw(3)}}, options);
      twins.expect_same_state();
    }
  }
}

/// Kernels that decode in one launch exclude candidates from their sums and add them later, in another order than
/// attend.
void expect_same_attention(Backend backend, const Outcome& a, const Outcome& b) {
  if (backend == Backend::cpu) return expect_same(a, b);
  EXPECT_EQ(a.slots, b.slots);
  EXPECT_EQ(a.victims, b.victims);
  for (std::size_t i = 0; i < a.out.size(); ++i) ASSERT_NEAR(a.out[i], b.out[i], 2e-6) << i;
  for (std::size_t i = 0; i < a.lse.size(); ++i) ASSERT_NEAR(a.lse[i], b.lse[i], 2e-6) << i;
}

TEST_P(Decode, IsAppendThenAttend) {
  SCOPED_TRACE("seed 5");
  const Config config = small_config();
  TestCache fused{GetParam(), config};
  TestCache separate{GetParam(), config};
  Inputs inputs{5};
  for (int step = 0; step < 50; ++step) {
    const Batch batch{{1, inputs.draw(config, 1)}, {0, inputs.draw(config, 1)}};
    const auto together = fused.run(Operation::decode, batch);
    const auto taken = separate.run(Operation::append, batch);
    const auto attended = separate.run(Operation::attend, batch);
    for (std::size_t r = 0; r < batch.size(); ++r) {
      expect_same_attention(GetParam(), together[r],
                            Outcome{taken[r].slots, taken[r].victims, attended[r].out, attended[r].lse});
    }
  }
  for (const int32_t sequence : {0, 1}) expect_same(fused.state(0, sequence), separate.state(0, sequence));
}

TEST_P(Decode, SeveralTokensOfARowAreSeveralSteps) {
  SCOPED_TRACE("seed 6");
  Config config = small_config();
  config.rule.policy = Policy::superseded;
  TestCache many{GetParam(), config};
  TestCache one{GetParam(), config};
  const Tokens tokens = Inputs{6}.draw(config, 50);
  Outcome singles;
  for (std::size_t i = 0; i < 50; ++i) {
    const Outcome outcome = one.run(Operation::decode, {{0, slice(config, tokens, i, 1)}}).front();
    singles.slots.insert(singles.slots.end(), outcome.slots.begin(), outcome.slots.end());
    singles.victims.insert(singles.victims.end(), outcome.victims.begin(), outcome.victims.end());
    singles.out.insert(singles.out.end(), outcome.out.begin(), outcome.out.end());
    singles.lse.insert(singles.lse.end(), outcome.lse.begin(), outcome.lse.end());
  }
  expect_same(many.run(Operation::decode, {{0, tokens}}).front(), singles);
  expect_same(many.state(0, 0), one.state(0, 0));
}

TEST_P(Decode, EvictedTokensNoLongerShow) {
  SCOPED_TRACE("seed 7");
  Config config = small_config();
  config.rule.policy = Policy::window;
  config.rule.num_sink_tokens = 0;
  Inputs inputs{7};
  const Tokens tokens = inputs.draw(config, 60);
  TestCache whole{GetParam(), config};
  TestCache tail{GetParam(), config};
  const auto from_whole = whole.run(Operation::decode, {{0, tokens}}).front();
  const auto from_tail = tail.run(Operation::decode, {{0, slice(config, tokens, 36, 24)}}).front();
  // Both hold the last 24 tokens in different slots, so sums differ only in their order.
  const auto last = reference::row(from_tail.out, 23, 64);
  const auto same = reference::row(from_whole.out, 59, 64);
  for (std::size_t i = 0; i < last.size(); ++i) EXPECT_NEAR(same[i], last[i], 1e-5);
}

TEST_P(Decode, SkippedAndEmptyRowsChangeNothing) {
  SCOPED_TRACE("seed 8");
  Config config = small_config();
  config.shape.num_sequences = 3;
  Twins twins{GetParam(), config};
  Inputs inputs{8};
  twins.run(Operation::decode,
            {{2, inputs.draw(config, 30)}, {-1, inputs.draw(config, 4)}, {1, inputs.draw(config, 0)}});
  twins.expect_same_state();
  EXPECT_EQ(twins.cache.state(0, 0).tokens_seen, 0);
  EXPECT_EQ(twins.cache.state(0, 1).tokens_seen, 0);
}

TEST_P(Decode, ABatchWithoutRowsIsDone) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  EXPECT_TRUE(cache.run(Operation::decode, {}).empty());
  EXPECT_EQ(cache.state(0, 0).tokens_seen, 0);
}

TEST_P(Decode, InPlaceGivesTheSame) {
  const Config config = small_config();
  for (const std::size_t count : Counts{1, 3, 40}) {  // with 40 tokens a row the cache evicts within the row
    SCOPED_TRACE(testing::Message() << count << " tokens, seed 11");
    TestCache apart{GetParam(), config};
    TestCache in_place{GetParam(), config};
    Inputs inputs{11};
    const Tokens prompt = inputs.draw(config, 23);
    const Tokens tokens = inputs.draw(config, count);
    for (TestCache* const cache : {&apart, &in_place}) cache->run(Operation::append, {{0, prompt}});
    const Outcome expected = apart.run(Operation::decode, {{0, tokens}}).front();
    const auto num = static_cast<int64_t>(count);
    const Array q{GetParam(), DType::float32, {num, 4, 16}, tokens.q};
    const Array k{GetParam(), DType::float32, {num, 2, 16}, tokens.k};
    const Array v{GetParam(), DType::float32, {num, 2, 16}, tokens.v};
    const Array starts{GetParam(), {2}, std::vector<int32_t>{0, static_cast<int32_t>(count)}};
    DecodeArgs args;
    args.batch.cu_seqlens = starts.tensor();
    args.q = args.out = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    in_place.cache().decode(args, Stream{});
    EXPECT_EQ(q.floats(), expected.out);
    expect_same(in_place.state(0, 0), apart.state(0, 0));
  }
}

TEST_P(Decode, LayersAreIndependent) {
  SCOPED_TRACE("seed 9");
  Config config = small_config();
  config.shape.num_layers = 3;
  config.shape.capacities = capacities_of_layers({16, 24, 12}, config.shape.num_kv_heads);
  Twins twins{GetParam(), config};
  Inputs inputs{9};
  for (int step = 0; step < 40; ++step) {
    for (Options options; options.layer < 3; ++options.layer) {
      twins.run(Operation::decode, {{1, inputs.draw(config, 1)}}, options);
    }
  }
  twins.expect_same_state();
}

TEST_P(Decode, PinnedPromptsAreTakenLast) {
  SCOPED_TRACE("seed 10");
  for (const std::size_t prompt : Counts{10, 18, 40}) {  // the longest leaves no unpinned slot
    Config config = small_config();
    config.rule.pin_prompt = true;
    Twins twins{GetParam(), config};
    Inputs inputs{10};
    twins.run(Operation::prefill, {{0, inputs.draw(config, prompt)}});
    for (int step = 0; step < 60; ++step) twins.run(Operation::decode, {{0, inputs.draw(config, 1)}});
    twins.expect_same_state();
  }
}

}  // namespace
}  // namespace hashevict::test
