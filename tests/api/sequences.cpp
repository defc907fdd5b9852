// SPDX-License-Identifier: Apache-2.0
// reset and fork.
#include "support.hpp"

namespace hashevict::test {
namespace {

/// Attention of one fixed query over a sequence of layer 0, as a fingerprint of its keys and values.
std::vector<float> attention_of(Cache& cache, int32_t sequence) {
  StepData data{cache.config(), 1, 77};
  data.set_sequences({sequence});
  cache.attend(data.args, Stream{});
  return data.out;
}

TEST(Reset, EmptiesOneSequenceInEveryLayer) {
  Cache cache = used_cache();
  const std::vector<std::byte> other = cache.save(1, Stream{});
  Cache fresh{small_config()};
  cache.reset(0, Stream{});
  EXPECT_EQ(cache.save(0, Stream{}), fresh.save(0, Stream{}));
  EXPECT_EQ(cache.save(1, Stream{}), other);
}

TEST(Reset, WithoutASequenceEmptiesAll) {
  for (const bool by_number : {false, true}) {
    Cache cache = used_cache();
    Cache fresh{small_config()};
    if (by_number) {
      cache.reset(-1, Stream{});
    } else {
      cache.reset(Stream{});
    }
    EXPECT_EQ(save_all(cache), save_all(fresh));
  }
}

TEST(Reset, SequenceStartsAgainAsIfNew) {
  for (const Policy policy :
       {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::random, Policy::importance}) {
    Config config = small_config();
    config.rule.policy = policy;
    Cache cache = used_cache(config);
    Cache fresh{config};
    cache.reset(Stream{});
    for (Cache* const each : {&cache, &fresh}) feed(*each, 0, 33, 500);
    EXPECT_EQ(save_all(cache), save_all(fresh)) << static_cast<int>(policy);
    EXPECT_EQ(attention_of(cache, 0), attention_of(fresh, 0));
  }
}

void expect_fork_continues_alike(Cache& cache) {
  const std::vector<float> source = attention_of(cache, 0);
  cache.fork(0, 2, Stream{});
  EXPECT_EQ(cache.save(2, Stream{}), cache.save(0, Stream{}));
  EXPECT_EQ(attention_of(cache, 2), source);
  feed(cache, 0, 15, 700);
  EXPECT_NE(cache.save(2, Stream{}), cache.save(0, Stream{})) << "the fork is a copy, not an alias";
  feed(cache, 2, 15, 700);
  EXPECT_EQ(cache.save(2, Stream{}), cache.save(0, Stream{}));
  EXPECT_EQ(attention_of(cache, 2), attention_of(cache, 0));
}

TEST(Fork, ContinuesAsTheSourceWould) {
  for (const Layout layout : {Layout::head_major, Layout::slot_major}) {
    for (const Policy policy : {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
      Config config = small_config();
      config.placement.layout = layout;
      config.rule.policy = policy;
      Cache cache = used_cache(config);
      expect_fork_continues_alike(cache);
    }
  }
}

TEST(Fork, ContinuesAsTheSourceWouldInPages) {
  const Config config = small_paged_config();
  const PagedMemory lent{config};
  Cache cache{config, lent.memory};
  feed(cache, 0, 29, 1);
  expect_fork_continues_alike(cache);
}

TEST(Fork, OfAPartlyFilledSequenceReplacesAFullOne) {
  Cache cache = used_cache();
  cache.fork(1, 0, Stream{});
  EXPECT_EQ(cache.save(0, Stream{}), cache.save(1, Stream{}));
  EXPECT_EQ(cache.statistics(0, 0, 0, Stream{}).slots_used, 9);
}

TEST(Fork, OfAnEmptySequenceEmptiesTheTarget) {
  Cache cache = used_cache();
  Cache fresh{small_config()};
  cache.fork(2, 0, Stream{});
  EXPECT_EQ(cache.save(0, Stream{}), fresh.save(0, Stream{}));
}

TEST(Fork, OntoItselfIsRefused) {
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_fork(cache.handle(), 1, 1, error, nullptr); }),
      {HASHEVICT_INVALID_ARGUMENT, {"target = 1", "other than the source"}});
  EXPECT_EQ(save_all(cache), before);
}

TEST(Fork, TakesTheCentreAlong) {
  Config config = small_config();
  config.rule.centering = Centering::prompt;
  Cache cache{config};
  StepData prompt{config, 40, 3};
  prompt.set_rows({40});
  for (int32_t layer = 0; layer < 2; ++layer) {
    prompt.args.layer = layer;
    cache.prefill(prompt.args, Stream{});
  }
  expect_fork_continues_alike(cache);
}

}  // namespace
}  // namespace hashevict::test
