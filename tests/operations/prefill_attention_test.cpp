// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <string>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

/// The attention of a prompt against the oracle, which streams the prompt token by token.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(PromptAttention);

constexpr PrefillAttention kBoth[] = {PrefillAttention::streamed, PrefillAttention::full};

Options with(PrefillAttention attention, PrefillMode mode = PrefillMode::replay) {
  Options options;
  options.attention = attention;
  options.mode = mode;
  options.window = 6;
  return options;
}

/// Prefills a sequence in two chunks with steps in between, so that the cache holds keys and has evicted some.
void expect_oracles_attention(Backend backend, const Config& config, const Options& options, std::size_t first,
                              std::size_t second, uint32_t seed, Flavour flavour = Flavour::normal) {
  SCOPED_TRACE(testing::Message() << "chunks of " << first << " and " << second << ", seed " << seed);
  Twins twins{backend, config};
  Inputs inputs{seed};
  twins.run(Operation::prefill, {{1, inputs.draw(config, first, options.input, flavour)}}, options);
  twins.run(Operation::decode, {{1, inputs.draw(config, 3, options.input, flavour)}}, options);
  twins.run(Operation::prefill, {{1, inputs.draw(config, second, options.input, flavour)}}, options);
  twins.expect_same_state();
}

TEST_P(PromptAttention, OfEveryRuleIsWithinTheBound) {
  for (const Policy policy : kPolicies) {
    for (const PrefillAttention attention : kBoth) {
      for (const Flavour flavour : {Flavour::normal, Flavour::repeated}) {
        SCOPED_TRACE(testing::Message() << "policy " << policy << ", attention " << attention);
        Config config = small_config();
        config.rule.policy = policy;
        expect_oracles_attention(GetParam(), config, with(attention), 70, 45, 1, flavour);
      }
    }
  }
}

TEST_P(PromptAttention, OfEveryLengthIsWithinTheBound) {
  for (const PrefillAttention attention : kBoth) {
    for (const std::size_t count : Counts{1, 2, 23, 24, 25, 47, 48, 49, 95, 96, 97, 150, 311}) {
      SCOPED_TRACE(testing::Message() << "attention " << attention);
      expect_oracles_attention(GetParam(), small_config(), with(attention), count, count / 2 + 1, 2);
    }
  }
}

TEST_P(PromptAttention, OfEveryHeadSizeAndStorageIsWithinTheBound) {
  for (const DType storage : kFloats) {
    for (const int32_t dim : {8, 16, 24, 64, 72, 128, 200, 256}) {
      SCOPED_TRACE(testing::Message() << "storage " << storage << ", head_dim " << dim);
      Config config = small_config();
      config.shape.dtype = storage;
      config.shape.head_dim = dim;
      expect_oracles_attention(GetParam(), config, with(PrefillAttention::streamed), 60, 20, 3);
    }
  }
}

TEST_P(PromptAttention, OfEveryInputAndOutputTypeIsWithinTheBound) {
  for (const DType storage : kFloats) {
    for (const DType input : kFloats) {
      for (const DType output : kFloats) {
        for (const PrefillAttention attention : kBoth) {
          SCOPED_TRACE(testing::Message() << storage << " stored, " << input << " in, " << output << " out");
          Config config = small_config();
          config.shape.dtype = storage;
          Options options = with(attention);
          options.input = input;
          options.output = output;
          expect_oracles_attention(GetParam(), config, options, 40, 30, 4);
        }
      }
    }
  }
}

TEST_P(PromptAttention, OfEveryGroupSizeReadsItsKvHead) {
  for (const int32_t group : {1, 2, 3, 5, 7, 8, 50, 100}) {
    for (const PrefillAttention attention : kBoth) {
      SCOPED_TRACE(testing::Message() << "group " << group << ", attention " << attention);
      Config config = small_config();
      config.shape.num_qo_heads = 2 * group;
      expect_oracles_attention(GetParam(), config, with(attention), 45, 30, 5);
    }
  }
}

/// More keys die within a tile than a block has.
TEST_P(PromptAttention, WhoseStepsEvictManyKeysIsWithinTheBound) {
  Config config = small_config();
  config.shape.num_qo_heads = config.shape.num_kv_heads;
  config.shape.capacity = 150;
  expect_oracles_attention(GetParam(), config, with(PrefillAttention::streamed), 160, 120, 17);
}

TEST_P(PromptAttention, OfHeadsWithDifferentCapacitiesIsWithinTheBound) {
  for (const PrefillAttention attention : kBoth) {
    for (const int32_t layer : {0, 1}) {
      SCOPED_TRACE(testing::Message() << "attention " << attention << ", layer " << layer);
      Options options = with(attention);
      options.layer = layer;
      expect_oracles_attention(GetParam(), ragged_config(), options, 90, 60, 6);
    }
  }
}

TEST_P(PromptAttention, HonoursScaleAndSoftCap) {
  for (const PrefillAttention attention : kBoth) {
    for (const float scale : {0.05F, 2.0F}) {
      Options options = with(attention);
      options.softmax_scale = scale;
      options.logit_soft_cap = 3.0F;
      SCOPED_TRACE(testing::Message() << "attention " << attention << ", scale " << scale);
      expect_oracles_attention(GetParam(), small_config(), options, 60, 30, 7);
    }
  }
}

TEST_P(PromptAttention, SeesTheWholePromptInEveryMode) {
  for (const PrefillMode mode : {PrefillMode::window, PrefillMode::recent}) {
    for (const std::size_t before : Counts{0, 11}) {
      SCOPED_TRACE(testing::Message() << "mode " << mode << ", " << before << " tokens before, seed 8");
      Twins twins{GetParam(), small_config()};
      Inputs inputs{8};
      const Options options = with(PrefillAttention::full, mode);
      twins.run(Operation::prefill, {{0, inputs.draw(small_config(), before)}}, options);
      twins.run(Operation::prefill, {{0, inputs.draw(small_config(), 120)}}, options);
      if (mode == PrefillMode::recent) {
        twins.run(Operation::prefill, {{0, inputs.draw(small_config(), 40)}}, options);
      }
      twins.expect_same_state();
    }
  }
}

TEST_P(PromptAttention, OfPinnedAndCentredPromptsIsFull) {
  for (const bool pins : {false, true}) {
    SCOPED_TRACE(testing::Message() << "pin_prompt " << pins << ", seed 9");
    Config config = small_config();
    config.rule.pin_prompt = pins ? 1 : 0;
    config.rule.centering = pins ? Centering::none : Centering::prompt;
    Twins twins{GetParam(), config};
    Inputs inputs{9};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 70, DType::float32, Flavour::biased)}},
              with(PrefillAttention::full));
    if (pins) twins.run(Operation::prefill, {{0, inputs.draw(config, 40)}}, with(PrefillAttention::full));
    twins.expect_same_state();
  }
}

TEST_P(PromptAttention, OfRaggedRowsIsWithinTheBound) {
  for (const PrefillAttention attention : kBoth) {
    SCOPED_TRACE(testing::Message() << "attention " << attention << ", seed 10");
    Config config = small_config();
    config.shape.num_sequences = 5;
    config.execution.num_threads = 2;
    Twins twins{GetParam(), config};
    Inputs inputs{10};
    for (int chunk = 0; chunk < 2; ++chunk) {
      const std::vector<Outcome> outcomes = twins.run(Operation::prefill,
                                                      {{3, inputs.draw(config, 110)},
                                                       {-1, inputs.draw(config, 4)},
                                                       {0, inputs.draw(config, 1)},
                                                       {1, inputs.draw(config, 0)},
                                                       {4, inputs.draw(config, 50)}},
                                                      with(attention));
      for (const float element : outcomes[1].out) EXPECT_TRUE(std::isnan(element)) << "a skipped row was written";
    }
    twins.expect_same_state();
  }
}

/// One prompt through prefill, and the same tokens through decode one by one.
TEST_P(PromptAttention, StreamedIsThatOfOneDecodeStepPerToken) {
  for (const Policy policy : kPolicies) {
    SCOPED_TRACE(testing::Message() << "policy " << policy << ", seed 11");
    Config config = small_config();
    config.rule.policy = policy;
    config.shape.dtype = DType::bfloat16;
    const Tokens tokens = Inputs{11}.draw(config, 120);
    TestCache whole{GetParam(), config};
    TestCache stepped{GetParam(), config};
    const Outcome outcome = whole.run(Operation::prefill, {{0, tokens}}, with(PrefillAttention::streamed)).front();
    const Outcome steps = stepped.run(Operation::decode, {{0, tokens}}).front();
    EXPECT_EQ(outcome.slots, steps.slots);
    EXPECT_EQ(outcome.victims, steps.victims);
    expect_same(whole.state(0, 0), stepped.state(0, 0));
    for (std::size_t i = 0; i < steps.out.size(); ++i) ASSERT_NEAR(outcome.out[i], steps.out[i], 2e-5F) << i;
    for (std::size_t i = 0; i < steps.lse.size(); ++i) ASSERT_NEAR(outcome.lse[i], steps.lse[i], 2e-5F) << i;
  }
}

/// attend() refuses several queries of a sequence that has evicted, since what the first of them must see is gone.
/// prefill() computes them before it evicts.
TEST_P(PromptAttention, SeesWhatAttendCanNoLongerSee) {
  SCOPED_TRACE("seed 12");
  Config config = small_config();
  config.shape.capacity = 60;
  const Tokens tokens = Inputs{12}.draw(config, 200);
  Twins twins{GetParam(), config};
  const Outcome outcome = twins.run(Operation::prefill, {{0, tokens}}, with(PrefillAttention::streamed)).front();
  TestCache stepped{GetParam(), config};
  stepped.run(Operation::decode, {{0, slice(config, tokens, 0, 70)}});
  const Outcome query = stepped.run(Operation::decode, {{0, slice(config, tokens, 70, 1)}}).front();
  const std::vector<float> own = reference::row(outcome.out, 70, 64);
  for (std::size_t e = 0; e < own.size(); ++e) EXPECT_NEAR(own[e], query.out[e], 2e-5F) << e;
  if (GetParam() == Backend::cpu) {
    EXPECT_THROW(twins.cache.run(Operation::attend, {{0, tokens}}), Error);
  }
}

TEST_P(PromptAttention, ChangesNothingButItsOutputs) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE(testing::Message() << "mode " << mode << ", seed 13");
    const Config config = small_config();
    const Tokens tokens = Inputs{13}.draw(config, 100);
    TestCache with_attention{GetParam(), config};
    TestCache without{GetParam(), config};
    Options none;
    none.mode = mode;
    none.window = 6;
    Outcome a = with_attention.run(Operation::prefill, {{0, tokens}}, with(PrefillAttention::full, mode)).front();
    const Outcome b = without.run(Operation::prefill, {{0, tokens}}, none).front();
    a.out = b.out;
    a.lse = b.lse;
    expect_same(a, b);
    expect_same(with_attention.state(0, 0), without.state(0, 0));
  }
}

TEST_P(PromptAttention, InPlaceGivesTheSame) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE(testing::Message() << "mode " << mode << ", seed 14");
    const Config config = small_config();
    const Tokens tokens = Inputs{14}.draw(config, 100);
    TestCache apart{GetParam(), config};
    const Outcome expected = apart.run(Operation::prefill, {{0, tokens}}, with(PrefillAttention::full, mode)).front();
    TestCache in_place{GetParam(), config};
    const Array q{GetParam(), DType::float32, {100, 4, 16}, tokens.q};
    const Array k{GetParam(), DType::float32, {100, 2, 16}, tokens.k};
    const Array v{GetParam(), DType::float32, {100, 2, 16}, tokens.v};
    const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 100}};
    PrefillArgs args;
    args.batch.cu_seqlens = starts.tensor();
    args.q = args.out = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    args.mode = mode;
    args.window = 6;
    args.attention = PrefillAttention::full;
    in_place.cache().prefill(args, Stream{});
    EXPECT_EQ(q.floats(), expected.out);
    expect_same(in_place.state(0, 0), apart.state(0, 0));
  }
}

/// Keys that a query does not see may hold anything: later tokens of the prompt, and what was evicted before.
TEST_P(PromptAttention, IsUntouchedByWhatItDoesNotSee) {
  for (const PrefillAttention attention : kBoth) {
    SCOPED_TRACE(testing::Message() << "attention " << attention << ", seed 15");
    Config config = small_config();
    config.rule.policy = Policy::window;  // the oldest behind the sinks goes: position 2 at step 24
    const Tokens clean = Inputs{15}.draw(config, 60);
    Tokens dirty = clean;
    const auto spoil = [&](std::size_t token) {
      for (std::size_t e = 0; e < 32; ++e) {
        dirty.k[token * 32 + e] = std::numeric_limits<float>::quiet_NaN();
        dirty.v[token * 32 + e] = std::numeric_limits<float>::infinity();
      }
    };
    spoil(50);
    std::size_t first = 0;
    if (attention == PrefillAttention::streamed) {
      spoil(2);
      first = 24;  // its own step has evicted position 2
    }
    TestCache a{GetParam(), config};
    TestCache b{GetParam(), config};
    const Outcome expected = a.run(Operation::prefill, {{0, clean}}, with(attention)).front();
    const Outcome outcome = b.run(Operation::prefill, {{0, dirty}}, with(attention)).front();
    for (std::size_t i = first * 64; i < 50 * 64; ++i) ASSERT_EQ(outcome.out[i], expected.out[i]) << "token " << i / 64;
    for (std::size_t i = 50 * 64; i < 51 * 64; ++i) ASSERT_TRUE(std::isnan(outcome.out[i]));
  }
}

TEST_P(PromptAttention, WritesStridedOutputsWhereTheyLie) {
  SCOPED_TRACE("seed 16");
  const Config config = small_config();
  const Tokens tokens = Inputs{16}.draw(config, 50);
  TestCache dense{GetParam(), config};
  const Outcome expected = dense.run(Operation::prefill, {{0, tokens}}, with(PrefillAttention::streamed)).front();
  TestCache cache{GetParam(), config};
  const Array q{GetParam(), DType::float32, {50, 4, 16}, tokens.q};
  const Array k{GetParam(), DType::float32, {50, 2, 16}, tokens.k};
  const Array v{GetParam(), DType::float32, {50, 2, 16}, tokens.v};
  const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 50}};
  const Array room{GetParam(), DType::float32, {50, 4, 40}};
  PrefillArgs args;
  args.batch.cu_seqlens = starts.tensor();
  args.q = q.tensor();
  args.k = k.tensor();
  args.v = v.tensor();
  args.out = Tensor{room.tensor().data_as<float>(), {50, 4, 16}, {160, 40, 2}};
  cache.cache().prefill(args, Stream{});  // without lse, which is optional
  EXPECT_EQ(read_floats(GetParam(), args.out), expected.out);
  const std::vector<float> all = room.floats();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool written = i % 40 < 32 && i % 2 == 0;
    EXPECT_EQ(std::isnan(all[i]), !written) << i;
  }
}

}  // namespace
}  // namespace hashevict::test
