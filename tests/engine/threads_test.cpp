// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>

#include "engine/decoder.hpp"
#include "random_model.hpp"

namespace hashevict::engine {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (const std::int32_t num_threads : {1, 2, 5}) {
    ThreadPool threads(num_threads);
    EXPECT_EQ(threads.num_threads(), num_threads);
    for (const std::int64_t num_tasks : {0, 1, 2, 3, 100, 5000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(num_tasks));
      threads.parallel_for(num_tasks, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& count : runs) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, ManyShortLoopsFollowOneAnother) {
  ThreadPool threads(4);
  std::vector<std::int64_t> sums(16);  // plain memory: each loop must see what the one before wrote
  for (int round = 0; round < 5000; ++round) {
    threads.parallel_for(16, [&](std::int64_t i) { sums[static_cast<std::size_t>(i)] += i; });
    threads.parallel_for(16, [&](std::int64_t i) { sums[static_cast<std::size_t>(15 - i)] += 1; });
  }
  for (std::int64_t i = 0; i < 16; ++i) EXPECT_EQ(sums[static_cast<std::size_t>(i)], 5000 * (i + 1));
}

TEST(ThreadPool, LoopWithinATaskIsRunByIt) {
  ThreadPool threads(3);
  std::atomic<int> count = 0;
  threads.parallel_for(10, [&](std::int64_t) { threads.parallel_for(10, [&](std::int64_t) { ++count; }); });
  EXPECT_EQ(count, 100);
}

TEST(Decoder, BitsDoNotDependOnThreads) {
  const Model model = random_model(odd_config());
  const std::vector<std::int32_t> tokens = random_tokens(odd_config(), 200);
  std::vector<float> expected;
  for (const std::int32_t num_threads : {1, 2, 4}) {
    ThreadPool threads(num_threads);
    KvCache cache(KvCache::make_config(model.config(), 40, 2), threads);
    Decoder decoder(model, cache, threads);
    std::vector<float> all;
    const std::span<const float> prompt = decoder.prefill(tokens, {}, Logits::all, 1);
    all.assign(prompt.begin(), prompt.end());
    for (std::size_t begin = 0; begin < tokens.size(); begin += 50) {
      const std::span<const float> logits = decoder.stream(std::span(tokens).subspan(begin, 50), Logits::all, 0);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    if (num_threads == 1) expected = all;
    EXPECT_EQ(all, expected) << num_threads;
  }
}

}  // namespace
}  // namespace hashevict::engine
