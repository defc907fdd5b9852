// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Attend);

/// Fills one sequence and attends with the last few queries of another draw.
void expect_oracles_attention(Backend backend, const Config& config, uint32_t seed, Options options = {},
                              std::size_t num_tokens = 40, std::size_t num_queries = 1) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Twins twins{backend, config};
  Inputs inputs{seed};
  twins.run(Operation::append, {{0, inputs.draw(config, num_tokens, options.input)}}, options);
  twins.run(Operation::attend, {{0, inputs.draw(config, num_queries, options.input)}}, options);
}

TEST_P(Attend, EveryHeadSizeAndStorageIsWithinTheBound) {
  for (const int32_t dim : {8, 24, 64, 80, 96, 112, 128, 160, 192, 256}) {
    for (const DType storage : kFloats) {
      SCOPED_TRACE(testing::Message() << "head_dim " << dim << ", storage " << static_cast<int>(storage));
      Config config = small_config();
      config.shape.head_dim = dim;
      config.shape.dtype = storage;
      expect_oracles_attention(GetParam(), config, 1);
    }
  }
}

TEST_P(Attend, EveryInputAndOutputTypeIsWithinTheBound) {
  for (const DType input : kFloats) {
    for (const DType output : kFloats) {
      SCOPED_TRACE(testing::Message() << "input " << static_cast<int>(input) << ", output "
                                      << static_cast<int>(output));
      Options options;
      options.input = input;
      options.output = output;
      Config config = small_config();
      config.shape.dtype = DType::bfloat16;
      expect_oracles_attention(GetParam(), config, 2, options);
    }
  }
}

TEST_P(Attend, EveryGroupSizeReadsItsKvHead) {
  for (const int32_t group : {1, 2, 3, 4, 5, 7, 8, 16}) {
    SCOPED_TRACE(testing::Message() << "group_size " << group);
    Config config = small_config();
    config.shape.num_qo_heads = group * config.shape.num_kv_heads;
    expect_oracles_attention(GetParam(), config, 3);
  }
}

// The cases that kernels compute on tensor cores.
TEST_P(Attend, GroupsWhoseQueriesHaveTheStoredTypeAreWithinTheBound) {
  for (const DType storage : kHalves) {
    for (const int32_t group : {4, 5, 8, 12}) {
      for (const int32_t dim : {16, 80, 136}) {
        SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(storage) << ", group_size " << group
                                        << ", head_dim " << dim);
        Config config = small_config();
        config.shape.num_qo_heads = group * config.shape.num_kv_heads;
        config.shape.head_dim = dim;
        config.shape.dtype = storage;
        Options options;
        options.input = storage;
        options.logit_soft_cap = group == 5 ? 3.0F : 0.0F;
        expect_oracles_attention(GetParam(), config, 8, options);
      }
    }
  }
}

TEST_P(Attend, EveryLengthIsWithinTheBound) {
  Config config = small_config();
  config.shape.capacity = 80;
  for (const std::size_t length : Counts{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 79, 80}) {
    SCOPED_TRACE(testing::Message() << "length " << length);
    expect_oracles_attention(GetParam(), config, 4, {}, length);
  }
}

TEST_P(Attend, LongCachesThatAreSplitAreWithinTheBound) {
  Config config = small_config();
  config.shape.head_dim = 8;
  config.rule.hash_bits = 8;
  config.shape.capacity = 3000;
  config.execution.max_batch_tokens = 4096;
  for (const std::size_t length : Counts{1023, 1024, 1025, 2049, 2600}) {
    SCOPED_TRACE(testing::Message() << "length " << length);
    expect_oracles_attention(GetParam(), config, 5, {}, length);
  }
}

TEST_P(Attend, LargeLogitsAreWithinTheBound) {
  for (const float scale : {0.01F, 1.0F, 8.0F, 60.0F}) {
    SCOPED_TRACE(testing::Message() << "softmax_scale " << scale);
    Options options;
    options.softmax_scale = scale;  // at 60 all weights but the largest vanish, and logits leave the range of exp
    expect_oracles_attention(GetParam(), small_config(), 6, options);
  }
}

TEST_P(Attend, SoftCapBendsTheLogits) {
  for (const float cap : {0.5F, 5.0F, 30.0F}) {
    SCOPED_TRACE(testing::Message() << "logit_soft_cap " << cap);
    Options options;
    options.softmax_scale = 2.0F;
    options.logit_soft_cap = cap;
    expect_oracles_attention(GetParam(), small_config(), 7, options);
  }
}

TEST_P(Attend, EqualKeysAverageTheValues) {
  Config config = small_config();
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = 1;
  TestCache cache{GetParam(), config};
  Tokens tokens = Inputs{8}.draw(config, 4);
  for (float& element : tokens.k) element = 0.25F;
  for (std::size_t i = 0; i < tokens.v.size(); ++i) tokens.v[i] = static_cast<float>(i / 16);  // 0, 1, 2, 3
  cache.run(Operation::append, {{0, tokens}});
  const Outcome outcome = cache.run(Operation::attend, {{0, slice(config, tokens, 3, 1)}}).front();
  EXPECT_EQ(outcome.out, std::vector<float>(16, 1.5F));
}

TEST_P(Attend, SeveralQueriesSeeSlotsUpToTheirOwnPosition) {
  for (const std::size_t queries : Counts{2, 5, 24}) {
    SCOPED_TRACE(testing::Message() << queries << " queries");
    expect_oracles_attention(GetParam(), small_config(), 9, {}, 24, queries);
  }
}

/// Attends with `queries` queries in a sequence that has seen `seen` tokens; expects a refusal if keys were evicted.
void expect_refused_where_evicted(Backend backend, std::size_t seen, std::size_t queries) {
  SCOPED_TRACE(testing::Message() << seen << " tokens seen, " << queries << " queries");
  const Config config = small_config();  // 24 slots
  TestCache cache{backend, config};
  Inputs inputs{12};
  cache.run(Operation::append, {{0, inputs.draw(config, seen)}, {1, inputs.draw(config, 9)}});
  const Batch batch{{1, inputs.draw(config, 3)}, {0, inputs.draw(config, queries)}};
  const bool evicted = seen > 24 && queries > 1;
  if (backend != Backend::cpu || !evicted) {  // only the device knows the number of tokens
    const std::vector<Outcome> outcomes = cache.run(Operation::attend, batch);
    for (const float element : outcomes[0].out) EXPECT_TRUE(std::isfinite(element));
    for (const float element : outcomes[1].out) EXPECT_EQ(std::isnan(element), evicted);
    for (const float element : outcomes[1].lse) EXPECT_EQ(std::isnan(element), evicted);
    return;
  }
  const State before = cache.state(0, 0);
  try {
    cache.run(Operation::attend, batch);
    ADD_FAILURE() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_state) << error.what();
    for (const std::string& part : {std::string{"row 1"}, std::to_string(queries) + " query tokens",
                                    std::to_string(seen) + " tokens", std::string{"capacity of 24"}}) {
      EXPECT_NE(std::string{error.what()}.find(part), std::string::npos) << error.what();
    }
  }
  expect_same(cache.state(0, 0), before);
}

TEST_P(Attend, SeveralQueriesOfASequenceThatHasEvictedAreRefusedOrNotANumber) {
  for (const std::size_t seen : Counts{24, 25, 40, 100}) {
    for (const std::size_t queries : Counts{1, 2, 5, 24}) expect_refused_where_evicted(GetParam(), seen, queries);
  }
}

TEST_P(Attend, SeveralQueriesOfALongSequenceThatHasEvictedAreRefusedOrNotANumber) {
  Config config = small_config();
  config.shape.capacity = 600;  // three splits of a kernel
  config.shape.num_sequences = 8;
  TestCache cache{GetParam(), config};
  Inputs inputs{12};
  for (const std::size_t seen : Counts{500, 101}) cache.run(Operation::append, {{0, inputs.draw(config, seen)}});
  const Batch several{{0, inputs.draw(config, 2)}};
  if (GetParam() == Backend::cpu) {
    EXPECT_THROW(cache.run(Operation::attend, several), Error);
  } else {
    const Outcome refused = cache.run(Operation::attend, several).front();
    for (const float element : refused.out) EXPECT_TRUE(std::isnan(element));
  }
  const Outcome one = cache.run(Operation::attend, {{0, inputs.draw(config, 1)}}).front();
  for (const float element : one.out) EXPECT_TRUE(std::isfinite(element));
}

TEST_P(Attend, InPlaceGivesTheSame) {
  const Config config = small_config();
  for (const std::size_t count : Counts{1, 3, 20}) {
    SCOPED_TRACE(testing::Message() << count << " queries");
    TestCache cache{GetParam(), config};
    Inputs inputs{19};
    cache.run(Operation::append, {{0, inputs.draw(config, 22)}});
    const Tokens tokens = inputs.draw(config, count);
    const Outcome apart = cache.run(Operation::attend, {{0, tokens}}).front();
    const auto num = static_cast<int64_t>(count);
    const Array q{GetParam(), DType::float32, {num, 4, 16}, tokens.q};
    const Array starts{GetParam(), {2}, std::vector<int32_t>{0, static_cast<int32_t>(count)}};
    AttendArgs args;
    args.batch.cu_seqlens = starts.tensor();
    args.q = args.out = q.tensor();
    cache.cache().attend(args, Stream{});
    EXPECT_EQ(q.floats(), apart.out);
  }
}

TEST_P(Attend, QueriesOfAWholePromptAreCausal) {
  Config config = small_config();
  config.shape.capacity = 64;
  for (const DType storage : kFloats) {
    config.shape.dtype = storage;
    expect_oracles_attention(GetParam(), config, 10, {}, 50, 50);
  }
}

TEST_P(Attend, QueriesBehindAllTokensSeeEverySlot) {
  for (const std::size_t seen : Counts{0, 5, 24, 90}) {  // also after evictions
    SCOPED_TRACE(testing::Message() << "sequence has seen " << seen << ", seed 20");
    Config config = small_config();
    Twins twins{GetParam(), config};
    Inputs inputs{20};
    twins.run(Operation::append, {{0, inputs.draw(config, seen)}, {1, inputs.draw(config, 7)}});
    Options options;
    options.queries = AttendQueries::after;
    twins.run(Operation::attend, {{0, inputs.draw(config, 40)}, {1, inputs.draw(config, 1)}}, options);
    twins.expect_same_state();
  }
}

/// A draft of several tokens: its attention over the cache, and over itself, merged by lse.
TEST_P(Attend, QueriesBehindAllTokensMergeByLse) {
  SCOPED_TRACE("seed 21");
  Config config = small_config();
  const std::size_t draft = 4;
  Inputs inputs{21};
  const Tokens prompt = inputs.draw(config, 20);
  const Tokens drafted = inputs.draw(config, draft);
  Options after;
  after.queries = AttendQueries::after;
  TestCache cache{GetParam(), config};
  cache.run(Operation::append, {{0, prompt}});
  const Outcome old = cache.run(Operation::attend, {{0, drafted}}, after).front();
  TestCache own_cache{GetParam(), config};
  own_cache.run(Operation::append, {{0, drafted}});
  const Outcome own = own_cache.run(Operation::attend, {{0, drafted}}).front();
  cache.run(Operation::append, {{0, drafted}});
  const Outcome expected = cache.run(Operation::attend, {{0, drafted}}).front();
  for (std::size_t query = 0; query < draft * 4; ++query) {
    const float weight = 1.0F / (1.0F + std::exp(own.lse[query] - old.lse[query]));
    for (std::size_t e = query * 16; e < query * 16 + 16; ++e) {
      EXPECT_NEAR(weight * old.out[e] + (1.0F - weight) * own.out[e], expected.out[e], 1e-5F) << e;
    }
  }
}

TEST_P(Attend, AnEmptySequenceGivesZeros) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  const Outcome outcome = cache.run(Operation::attend, {{0, Inputs{11}.draw(config, 1)}}).front();
  EXPECT_EQ(outcome.out, std::vector<float>(64, 0.0F));
  EXPECT_EQ(outcome.lse, std::vector<float>(4, -std::numeric_limits<float>::infinity()));
}

TEST_P(Attend, MoreQueriesThanTokensAreRefusedOrSeeNothing) {
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{13};
  cache.run(Operation::append, {{0, inputs.draw(config, 3)}});
  const Batch batch{{0, inputs.draw(config, 4)}};
  if (GetParam() != Backend::cpu) {  // only the device knows the number of tokens
    const Outcome outcome = cache.run(Operation::attend, batch).front();
    EXPECT_EQ(reference::row(outcome.out, 0, 64), std::vector<float>(64, 0.0F));
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(outcome.lse[i], -std::numeric_limits<float>::infinity());
    for (std::size_t i = 4; i < 16; ++i) EXPECT_TRUE(std::isfinite(outcome.lse[i])) << i;
    return;
  }
  try {
    cache.run(Operation::attend, batch);
    ADD_FAILURE() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument) << error.what();
  }
}

TEST_P(Attend, RaggedRowsAreWithinTheBound) {
  SCOPED_TRACE("seed 14");
  Config config = small_config();
  config.shape.num_sequences = 4;
  Twins twins{GetParam(), config};
  Inputs inputs{14};
  twins.run(Operation::append,
            {{0, inputs.draw(config, 7)}, {2, inputs.draw(config, 23)}, {3, inputs.draw(config, 24)}});
  twins.run(Operation::attend, {{3, inputs.draw(config, 2)},
                                {0, inputs.draw(config, 1)},
                                {1, inputs.draw(config, 1)},
                                {2, inputs.draw(config, 5)}});
}

TEST_P(Attend, SkippedRowsLeaveTheirOutputsUntouched) {
  SCOPED_TRACE("seed 15");
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{15};
  cache.run(Operation::append, {{0, inputs.draw(config, 10)}});
  const auto outcomes = cache.run(Operation::attend, {{-1, inputs.draw(config, 2)}, {0, inputs.draw(config, 1)}});
  for (const float element : outcomes[0].out) EXPECT_TRUE(std::isnan(element));
  for (const float element : outcomes[0].lse) EXPECT_TRUE(std::isnan(element));
  for (const float element : outcomes[1].out) EXPECT_FALSE(std::isnan(element));
}

TEST_P(Attend, StridedOutputsAreWrittenWhereTheyLie) {
  SCOPED_TRACE("seed 16");
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{16};
  cache.run(Operation::append, {{0, inputs.draw(config, 20)}});
  const Tokens tokens = inputs.draw(config, 3);
  const Outcome dense = cache.run(Operation::attend, {{0, tokens}}).front();

  const Array q{GetParam(), DType::float32, {3, 4, 16}, tokens.q};
  const Array starts{GetParam(), {2}, std::vector<int32_t>{0, 3}};
  const Array out{GetParam(), DType::float32, {3, 4, 24}};  // a gap of 8 after each head
  AttendArgs args;
  args.batch.cu_seqlens = starts.tensor();
  args.q = q.tensor();
  args.out = Tensor{out.tensor().data_as<float>(), {3, 4, 16}, {96, 24, 1}};
  cache.cache().attend(args, Stream{});  // without lse, which is optional
  EXPECT_EQ(read_floats(GetParam(), args.out), dense.out);
  const std::vector<float> all = out.floats();
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(std::isnan(all[i]), i % 24 >= 16) << "element " << i;
}

TEST_P(Attend, NothingOfTheStateChanges) {
  SCOPED_TRACE("seed 17");
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{17};
  cache.run(Operation::append, {{0, inputs.draw(config, 30)}});
  const State before = cache.state(0, 0);
  cache.run(Operation::attend, {{0, inputs.draw(config, 1)}});
  expect_same(cache.state(0, 0), before);
}

TEST_P(Attend, StaleBytesOfUnusedSlotsNeverShow) {
  SCOPED_TRACE("seed 18");
  const Config config = small_config();
  for (const Arrangement arrangement : {Arrangement::strided, Arrangement::padded_pages}) {  // unused slots hold NaN
    Twins twins{GetParam(), config, arrangement};
    Inputs inputs{18};
    twins.run(Operation::append, {{0, inputs.draw(config, 9)}});
    twins.run(Operation::attend, {{0, inputs.draw(config, 1)}});
  }
}

}  // namespace
}  // namespace hashevict::test
