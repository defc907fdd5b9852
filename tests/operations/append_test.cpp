// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Append);

TEST_P(Append, EveryStorageHoldsTheRoundedInputs) {
  for (const DType storage : kFloats) {
    for (const DType input : kFloats) {
      for (const int32_t dim : {8, 24, 80, 128}) {
        SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(storage) << ", input "
                                        << static_cast<int>(input) << ", head_dim " << dim << ", seed 1");
        Config config = small_config();
        config.shape.dtype = storage;
        config.shape.head_dim = dim;
        Twins twins{GetParam(), config};
        Options options;
        options.input = input;
        twins.run(Operation::append, {{0, Inputs{1}.draw(config, 40, input)}}, options);
        twins.expect_same_state();
      }
    }
  }
}

TEST_P(Append, RoundingIsToTheNearestEven) {
  for (const DType storage : kHalves) {
    SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(storage));
    Config config = small_config();
    config.shape.dtype = storage;
    config.shape.head_dim = 16;
    config.shape.num_kv_heads = 1;
    config.shape.num_qo_heads = 1;
    Twins twins{GetParam(), config};
    Tokens token = Inputs{2}.draw(config, 1);
    // Halfway cases up and down, the largest numbers, overflow, subnormal numbers of both types, signed zeros.
    token.k = {1.0F + 0x1p-11F, 1.0F + 0x3p-11F, 1.0F + 0x1p-8F, 1.0F + 0x3p-8F, -1.0F - 0x1.8p-10F, 65504.0F,
               65519.0F,        65520.0F,        -1e30F,         3.4e38F,        0x1p-24F,           0x1p-25F,
               0x1.8p-24F,      0x1p-133F,       0.0F,           -0.0F};
    twins.run(Operation::append, {{0, token}});
    twins.expect_same_state();
  }
}

TEST_P(Append, CodesAreOfTheInputsBeforeRounding) {
  SCOPED_TRACE("seed 3");
  Config narrow = small_config();
  narrow.shape.dtype = DType::bfloat16;
  narrow.rule.hash_bits = 128;
  Config wide = narrow;
  wide.shape.dtype = DType::float32;
  TestCache a{GetParam(), narrow};
  TestCache b{GetParam(), wide};
  const Tokens tokens = Inputs{3}.draw(narrow, 60);
  a.run(Operation::append, {{0, tokens}});
  b.run(Operation::append, {{0, tokens}});
  EXPECT_TRUE(a.state(0, 0).codes == b.state(0, 0).codes);
  EXPECT_EQ(a.state(0, 0).positions, b.state(0, 0).positions);
}

TEST_P(Append, SeveralTokensOfARowAreSeveralSteps) {
  for (const Policy policy :
       {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::random, Policy::importance}) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 4");
    Config config = small_config();
    config.rule.policy = policy;
    TestCache many{GetParam(), config};
    TestCache one{GetParam(), config};
    const Tokens tokens = Inputs{4}.draw(config, 50);
    Outcome singles;
    for (std::size_t i = 0; i < 50; ++i) {
      const Outcome outcome = one.run(Operation::append, {{0, slice(config, tokens, i, 1)}}).front();
      singles.slots.insert(singles.slots.end(), outcome.slots.begin(), outcome.slots.end());
      singles.victims.insert(singles.victims.end(), outcome.victims.begin(), outcome.victims.end());
    }
    const Outcome together = many.run(Operation::append, {{0, tokens}}).front();
    EXPECT_EQ(together.slots, singles.slots);
    EXPECT_EQ(together.victims, singles.victims);
    expect_same(many.state(0, 0), one.state(0, 0));
  }
}

TEST_P(Append, AbsentBatchTensorsMeanOneTokenForEachSequence) {
  SCOPED_TRACE("seed 5");
  const Config config = small_config();
  TestCache plain{GetParam(), config};
  TestCache mapped{GetParam(), config};
  Inputs inputs{5};
  for (int i = 0; i < 40; ++i) {
    const Tokens a = inputs.draw(config, 1);
    const Tokens b = inputs.draw(config, 1);
    mapped.run(Operation::append, {{0, a}, {1, b}});
    const auto both = [](std::vector<float> x, const std::vector<float>& y) {
      x.insert(x.end(), y.begin(), y.end());
      return x;
    };
    const Array q{GetParam(), DType::float32, {2, 4, 16}, both(a.q, b.q)};
    const Array k{GetParam(), DType::float32, {2, 2, 16}, both(a.k, b.k)};
    const Array v{GetParam(), DType::float32, {2, 2, 16}, both(a.v, b.v)};
    AppendArgs args;  // without slots and victims: both are optional
    args.q = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    plain.cache().append(args, Stream{});
  }
  for (const int32_t sequence : {0, 1}) expect_same(plain.state(0, sequence), mapped.state(0, sequence));
}

TEST_P(Append, StridedInputsAreAddressedByTheirStrides) {
  SCOPED_TRACE("seed 6");
  const Config config = small_config();
  TestCache dense{GetParam(), config};
  TestCache strided{GetParam(), config};
  const Tokens tokens = Inputs{6}.draw(config, 40);
  dense.run(Operation::append, {{0, tokens}});

  std::vector<float> fused;  // [tokens, 4 + 2 + 2 heads, head_dim], as one matrix product would write it
  for (std::size_t i = 0; i < 40; ++i) {
    for (const auto& [matrix, width] : {std::pair{&tokens.q, std::size_t{64}}, {&tokens.k, 32}, {&tokens.v, 32}}) {
      const auto row = reference::row(*matrix, i, width);
      fused.insert(fused.end(), row.begin(), row.end());
    }
  }
  const Array qkv{GetParam(), DType::float32, {40, 8, 16}, fused};
  const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 40}};
  float* const base = qkv.tensor().data_as<float>();
  AppendArgs args;
  args.batch.cu_seqlens = starts.tensor();
  args.q = Tensor{base, {40, 4, 16}, {128, 16, 1}};
  args.k = Tensor{base + 64, {40, 2, 16}, {128, 16, 1}};
  args.v = Tensor{base + 96, {40, 2, 16}, {128, 16, 1}};
  strided.cache().append(args, Stream{});
  expect_same(strided.state(0, 0), dense.state(0, 0));
}

TEST_P(Append, MixedRowsGiveTheOraclesState) {
  SCOPED_TRACE("seed 7");
  Config config = small_config();
  config.shape.num_sequences = 4;
  config.shape.dtype = DType::bfloat16;
  Twins twins{GetParam(), config};
  Inputs inputs{7};
  twins.run(Operation::append,
            {{3, inputs.draw(config, 31)}, {-1, inputs.draw(config, 2)}, {0, inputs.draw(config, 5)}});
  twins.run(Operation::append,
            {{0, inputs.draw(config, 33)}, {1, inputs.draw(config, 0)}, {3, inputs.draw(config, 1)}});
  twins.expect_same_state();
  EXPECT_EQ(twins.cache.state(0, 1).tokens_seen, 0);
}

TEST_P(Append, SkippedRowsLeaveTheirOutputsUntouched) {
  SCOPED_TRACE("seed 8");
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{8};
  const auto outcomes = cache.run(Operation::append, {{-1, inputs.draw(config, 3)}, {1, inputs.draw(config, 2)}});
  EXPECT_EQ(outcomes[0].slots, std::vector<int32_t>(6, Array::kPoison));
  EXPECT_EQ(outcomes[0].victims, std::vector<int32_t>(6, Array::kPoison));
  EXPECT_EQ(outcomes[1].slots, (std::vector<int32_t>{0, 0, 1, 1}));
}

TEST_P(Append, EmptyPositionsAreMinusOne) {
  SCOPED_TRACE("seed 9");
  Twins twins{GetParam(), small_config()};
  twins.run(Operation::append, {{1, Inputs{9}.draw(small_config(), 3)}});
  twins.expect_same_state();
  EXPECT_EQ(twins.cache.state(0, 1).lengths, (std::vector<int32_t>{3, 3}));
  EXPECT_EQ(twins.cache.state(0, 0).positions, std::vector<int32_t>(48, -1));
}

TEST_P(Append, CenteredCodesGiveTheOraclesVictims) {
  SCOPED_TRACE("seed 10");
  for (const Policy policy : {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy));
    Config config = small_config();
    config.rule.policy = policy;
    config.rule.centering = Centering::fixed;
    Twins twins{GetParam(), config};
    Inputs inputs{10};
    const auto key_center = inputs.floats(32);
    const auto query_center = inputs.floats(64);
    twins.cache.cache().set_center(0, 1, Tensor{key_center.data(), {2, 16}}, Tensor{query_center.data(), {4, 16}});
    twins.oracle(0, 1).set_center(key_center, query_center);
    twins.run(Operation::append, {{1, inputs.draw(config, 60, DType::float32, Flavour::biased)},
                                  {0, inputs.draw(config, 60, DType::float32, Flavour::biased)}});
    twins.expect_same_state();
  }
}

TEST_P(Append, SpecialNumbersAreStoredAsTheyAre) {
  SCOPED_TRACE("seed 11");
  Twins twins{GetParam(), small_config()};
  twins.run(Operation::append, {{0, Inputs{11}.draw(small_config(), 60, DType::float32, Flavour::special)}});
  twins.expect_same_state();
}

}  // namespace
}  // namespace hashevict::test
