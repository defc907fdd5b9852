// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <set>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// Feeding a prompt in chunks of any sizes gives the same state.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Chunks);

/// Prefills in chunks of random sizes from 0 to `largest`.
Outcome prefill_in_chunks(TestCache& cache, const Tokens& tokens, std::size_t largest, uint32_t seed,
                          const Options& options = {}) {
  std::mt19937 random{seed};
  Outcome all;
  for (std::size_t done = 0; done < tokens.count;) {
    const std::size_t count = std::min<std::size_t>(random() % (largest + 1), tokens.count - done);
    join(all, cache.run(Operation::prefill, {{0, slice(cache.config(), tokens, done, count)}}, options).front());
    done += count;
  }
  return all;
}

TEST_P(Chunks, OfAnySizesReplayToTheSameState) {
  for (const Config& config : configs_with_ragged_heads(small_config())) {
    const Tokens tokens = Inputs{1}.draw(config, 110);
    TestCache whole{GetParam(), config};
    const Outcome expected = whole.run(Operation::prefill, {{0, tokens}}).front();
    const Tokens steps = Inputs{2}.draw(config, 30);
    const Outcome later = whole.run(Operation::decode, {{0, steps}}).front();
    for (const std::size_t largest : Counts{1, 3, 10, 40}) {
      SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(config.rule.policy) << ", chunks up to "
                                      << largest << ", seed 1");
      TestCache chunked{GetParam(), config};
      expect_same(prefill_in_chunks(chunked, tokens, largest, 1), expected);
      expect_same(chunked.run(Operation::decode, {{0, steps}}).front(), later);
      expect_same(chunked.state(0, 0), whole.state(0, 0));
    }
  }
}

/// Chunks differ in the order of their sums, which tiles of a chunk's own tokens determine.
TEST_P(Chunks, OfAnySizesAttendToTheSameKeys) {
  if (!attends_prompts(GetParam())) GTEST_SKIP() << "this backend computes no attention of a prompt";
  for (const PrefillAttention attention : {PrefillAttention::streamed, PrefillAttention::full}) {
    Options options;
    options.attention = attention;
    for (const Config& base : configs_with_ragged_heads(small_config())) {
      if (base.rule.pin_prompt != 0) continue;
      Config config = base;
      if (attention == PrefillAttention::full) config.shape = small_config().shape;
      if (attention == PrefillAttention::full) config.shape.capacity = 110;  // a later chunk sees what is left
      const Tokens tokens = Inputs{6}.draw(config, 110);
      TestCache whole{GetParam(), config};
      const Outcome expected = whole.run(Operation::prefill, {{0, tokens}}, options).front();
      for (const std::size_t largest : Counts{1, 7, 60}) {
        SCOPED_TRACE(testing::Message() << "policy " << config.rule.policy << ", attention " << attention
                                        << ", chunks up to " << largest << ", seed 6");
        TestCache chunked{GetParam(), config};
        const Outcome outcome = prefill_in_chunks(chunked, tokens, largest, 6, options);
        for (std::size_t i = 0; i < expected.out.size(); ++i) ASSERT_NEAR(outcome.out[i], expected.out[i], 1e-5F) << i;
        for (std::size_t i = 0; i < expected.lse.size(); ++i) ASSERT_NEAR(outcome.lse[i], expected.lse[i], 1e-5F) << i;
      }
    }
  }
}

/// Positions in a head, in ascending order.
std::set<int32_t> held(const State& state, std::size_t head, std::size_t capacity) {
  const auto begin = state.positions.begin() + static_cast<std::ptrdiff_t>(head * capacity);
  return {begin, begin + static_cast<std::ptrdiff_t>(capacity)};
}

TEST_P(Chunks, OfAnySizesKeepTheSameRecentTokens) {
  Options options;
  options.mode = PrefillMode::recent;
  const Config config = small_config();
  const Tokens tokens = Inputs{3}.draw(config, 110);
  std::set<int32_t> expected{0, 1};
  for (int32_t position = 88; position < 110; ++position) expected.insert(position);
  for (const std::size_t largest : Counts{1, 7, 40, 110}) {
    SCOPED_TRACE(testing::Message() << "chunks up to " << largest << ", seed 3");
    TestCache chunked{GetParam(), config};
    prefill_in_chunks(chunked, tokens, largest, 3, options);
    EXPECT_EQ(held(chunked.state(0, 0), 0, 24), expected);
    EXPECT_EQ(held(chunked.state(0, 0), 1, 24), expected);
  }
}

TEST_P(Chunks, OfRecentTokensLeaveTheSameAccumulators) {
  for (const Policy policy : {Policy::superseded, Policy::mean, Policy::votes, Policy::importance}) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(policy) << ", seed 4");
    Options options;
    options.mode = PrefillMode::recent;
    Config config = small_config();
    config.rule.policy = policy;  // ties go to the oldest, so the order of slots cannot affect the victims
    const Tokens tokens = Inputs{4}.draw(config, 80);
    const Tokens steps = Inputs{5}.draw(config, 40);
    TestCache whole{GetParam(), config};
    whole.run(Operation::prefill, {{0, tokens}}, options);
    const Outcome expected = whole.run(Operation::append, {{0, steps}}).front();
    TestCache chunked{GetParam(), config};
    prefill_in_chunks(chunked, tokens, 11, 4, options);
    EXPECT_EQ(chunked.run(Operation::append, {{0, steps}}).front().victims, expected.victims);
  }
}

}  // namespace
}  // namespace hashevict::test
