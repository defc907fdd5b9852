// SPDX-License-Identifier: Apache-2.0
#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// The layout of slots in memory changes no result: the same inputs and seed give the same slots, victims and bits of
/// attention in every arrangement. Of lent memory only the slots are written; block tables are only read.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Arrangements);

constexpr Arrangement kArrangements[] = {Arrangement::owned, Arrangement::strided, Arrangement::interleaved,
                                         Arrangement::padded_pages, Arrangement::csr_pages};

TEST_P(Arrangements, AllGiveTheSameResultsAndState) {
  for (const Config& base : configs_of_every_rule(small_config())) {
    TestCache expected{GetParam(), base};
    const Tokens tokens = Inputs{1}.draw(base, 90);
    const Outcome outcome = run_alone(expected, 1, tokens, 40, 60);
    for (const Layout order : kDenseLayouts) {
      for (const Arrangement arrangement : kArrangements) {
        SCOPED_TRACE(testing::Message() << "policy " << base.rule.policy << ", order " << order << ", arrangement "
                                        << arrangement << ", seed 1");
        Config config = base;
        config.placement.layout = order;
        TestCache cache{GetParam(), config, arrangement};
        expect_same(run_alone(cache, 1, tokens, 40, 60), outcome);
        expect_same(cache.state(0, 1), expected.state(0, 1));
      }
    }
  }
}

TEST_P(Arrangements, OfRaggedHeadsAllGiveTheSameResultsAndState) {
  Config config = small_config();
  config.shape.capacities = ragged_capacities(config);
  const Tokens tokens = Inputs{8}.draw(config, 90);
  TestCache expected{GetParam(), config};
  const Outcome outcome = run_alone(expected, 1, tokens, 40, 60);
  for (const Arrangement arrangement : {Arrangement::strided, Arrangement::interleaved}) {
    SCOPED_TRACE(testing::Message() << "arrangement " << arrangement << ", seed 8");
    TestCache cache{GetParam(), config, arrangement};
    expect_same(run_alone(cache, 1, tokens, 40, 60), outcome);
    expect_same(cache.state(0, 1), expected.state(0, 1));
  }
}

/// A head does the same beside any others: its slots, codes and results do not depend on their capacities.
TEST_P(Arrangements, OfRaggedHeadsGiveEachHeadWhatItHasAlone) {
  SCOPED_TRACE("seed 9");
  Config config = small_config();
  const Tokens tokens = Inputs{9}.draw(config, 90);
  config.shape.capacities = {8, 24};
  TestCache beside_least{GetParam(), config};
  config.shape.capacities = {600, 24};
  TestCache beside_most{GetParam(), config};
  const Outcome a = run_alone(beside_least, 1, tokens, 40, 60);
  const Outcome b = run_alone(beside_most, 1, tokens, 40, 60);
  for (std::size_t i = 1; i < a.victims.size(); i += 2) {
    EXPECT_EQ(a.slots[i], b.slots[i]);
    EXPECT_EQ(a.victims[i], b.victims[i]);
  }
  EXPECT_NE(a.victims, b.victims);
}

TEST_P(Arrangements, OfHalfPrecisionSlotsAllGiveTheSameResultsAndState) {
  for (const DType dtype : kHalves) {
    Config base = small_config();
    base.shape.dtype = dtype;
    base.shape.head_dim = 24;
    TestCache expected{GetParam(), base};
    const Tokens tokens = Inputs{2}.draw(base, 90);
    const Outcome outcome = run_alone(expected, 1, tokens, 40, 60);
    for (const Arrangement arrangement : kArrangements) {
      SCOPED_TRACE(testing::Message() << "arrangement " << arrangement << ", seed 2");
      TestCache cache{GetParam(), base, arrangement};
      expect_same(run_alone(cache, 1, tokens, 40, 60), outcome);
      expect_same(cache.state(0, 1), expected.state(0, 1));
    }
  }
}

TEST_P(Arrangements, InPagesOfAnySizeGiveTheSameResults) {
  const Config base = small_config();
  TestCache expected{GetParam(), base};
  const Tokens tokens = Inputs{3}.draw(base, 90);
  const Outcome outcome = run_alone(expected, 0, tokens, 40, 60);
  for (const int32_t page_size : {1, 3, 8, 16, 24, 64}) {
    for (const Arrangement arrangement : {Arrangement::padded_pages, Arrangement::csr_pages}) {
      SCOPED_TRACE(testing::Message() << "page_size " << page_size << ", seed 3");
      Config config = base;
      config.placement.page_size = page_size;
      TestCache cache{GetParam(), config, arrangement};
      expect_same(run_alone(cache, 0, tokens, 40, 60), outcome);
    }
  }
}

TEST_P(Arrangements, AllGiveTheSamePromptsInModesWindowAndRecent) {
  for (const PrefillMode mode : {PrefillMode::window, PrefillMode::recent}) {
    const Config config = small_config();
    Options options;
    options.mode = mode;
    options.window = 6;
    options.attention = PrefillAttention::full;
    TestCache expected{GetParam(), config};
    const Batch batch{{1, Inputs{4}.draw(config, 70)}};
    const Outcome outcome = expected.run(Operation::prefill, batch, options).front();
    for (const Arrangement arrangement : kArrangements) {
      SCOPED_TRACE(testing::Message() << "mode " << mode << ", arrangement " << arrangement << ", seed 4");
      TestCache cache{GetParam(), config, arrangement};
      expect_same(cache.run(Operation::prefill, batch, options).front(), outcome);
      expect_same(cache.state(0, 1), expected.state(0, 1));
    }
  }
}

TEST_P(Arrangements, WithGapsAreWrittenInTheirSlotsOnly) {
  for (const Layout order : kDenseLayouts) {
    SCOPED_TRACE(testing::Message() << "order " << order << ", seed 5");
    Config config = small_config();
    config.placement.layout = order;
    TestCache cache{GetParam(), config, Arrangement::strided};
    const auto untouched = cache.lent_bytes();
    run_alone(cache, 0, Inputs{5}.draw(config, 90), 40, 60);
    const auto written = cache.lent_bytes();
    for (std::size_t buffer = 0; buffer < 2; ++buffer) {  // keys, values
      std::size_t changed = 0;
      for (std::size_t i = 0; i < written[buffer].size(); i += sizeof(float)) {
        const auto differs = [&](std::size_t b) { return written[buffer][i + b] != untouched[buffer][i + b]; };
        if (differs(0) || differs(1) || differs(2) || differs(3)) ++changed;
      }
      EXPECT_EQ(changed, 2U * 24 * 16);  // heads, slots, elements: no gap and no other sequence
    }
  }
}

TEST_P(Arrangements, InPagesNeverWriteTheBlockTable) {
  for (const Config& base : configs_of_every_rule(small_config())) {
    for (const Arrangement arrangement : {Arrangement::padded_pages, Arrangement::csr_pages}) {
      SCOPED_TRACE(testing::Message() << "policy " << base.rule.policy << ", seed 6");
      Config config = base;
      config.shape.num_layers = 2;
      TestCache cache{GetParam(), config, arrangement};
      run_alone(cache, 0, Inputs{6}.draw(config, 90), 40, 60);
      cache.cache().fork(0, 1, Stream{});
      const auto saved = cache.cache().save(1, Stream{});
      cache.cache().reset(0, Stream{});
      cache.cache().load(0, saved.data(), saved.size(), Stream{});
      EXPECT_EQ(cache.block_table_now(), cache.block_table());
    }
  }
}

TEST_P(Arrangements, InPagesNeverTouchThePagesOfOthers) {
  SCOPED_TRACE("seed 7");
  const Config config = small_config();
  TestCache cache{GetParam(), config, Arrangement::padded_pages};
  const auto untouched = cache.lent_bytes();
  run_alone(cache, 0, Inputs{7}.draw(config, 90), 40, 60);
  const auto written = cache.lent_bytes();
  const std::size_t page = 2 * 5 * 16 * sizeof(float);  // heads, slots, elements
  const std::vector<int32_t>& table = cache.block_table();
  for (std::size_t p = 0; p * page < written[0].size(); ++p) {
    const bool own = std::find(table.begin(), table.begin() + 5, static_cast<int32_t>(p)) != table.begin() + 5;
    const auto begin = static_cast<std::ptrdiff_t>(p * page);
    const auto end = begin + static_cast<std::ptrdiff_t>(page);
    const bool same = std::equal(written[0].begin() + begin, written[0].begin() + end, untouched[0].begin() + begin);
    EXPECT_EQ(same, !own) << "page " << p;
  }
}

}  // namespace
}  // namespace hashevict::test
