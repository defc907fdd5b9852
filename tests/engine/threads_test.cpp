// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <hashevict/cache.hpp>
#include <string>

#include "random_model.hpp"
#include "refusal.hpp"

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

// Creates a pool of eight in a child that may have three threads. Returns the status of the refusal.
Status status_of_a_refused_pool() {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{3, 3};
    const bool is_bound = ::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0;  // root is bound by no limit
    if (!is_bound || ::setrlimit(RLIMIT_NPROC, &limit) != 0) ::_exit(100);
    try {
      const ThreadPool threads(8);
    } catch (const Error& error) {
      const bool is_told = std::string(error.what()).find("threads = 8: the system gives no more than ") == 0;
      ::_exit(is_told ? static_cast<int>(error.status()) : 102);
    }
    ::_exit(101);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  return static_cast<Status>(WEXITSTATUS(status));
}

TEST(ThreadPool, IsRefusedWhereTheSystemGivesFewerThreads) {
  const Status status = status_of_a_refused_pool();
  if (static_cast<int>(status) == 100) GTEST_SKIP() << "no limit can be set here";
  EXPECT_EQ(status, Status::out_of_memory);
}

TEST(ThreadPool, NumberOutsideOfTheRangeIsRefused) {
  for (const std::int32_t number : {-1, HASHEVICT_MAX_THREADS + 1, INT32_MAX}) {
    EXPECT_EQ(refusal([&] { ThreadPool{number}; }, Status::invalid_argument),
              "threads = " + std::to_string(number) + ": expected 0 to 1024");
  }
}

TEST(ThreadPool, ZeroIsAllThatTheProcessMayUse) {
  EXPECT_EQ(ThreadPool(0).num_threads(), Cache::capabilities(Backend::cpu).num_hardware_threads);
}

TEST(Decoder, BitsDoNotDependOnThreads) {
  const Model model = random_model(odd_config());
  const std::vector<std::int32_t> tokens = random_tokens(odd_config(), 200);
  std::vector<float> expected;
  for (const std::int32_t num_threads : {1, 2, 4}) {
    Engine engine(model, KvCache::make_config(model.config(), 40), num_threads);
    std::vector<float> all = engine.prefill(tokens);
    engine.cache.reset();
    const std::vector<float> streamed = engine.stream(tokens, 50);
    all.insert(all.end(), streamed.begin(), streamed.end());
    if (num_threads == 1) expected = all;
    EXPECT_EQ(all, expected) << num_threads;
  }
}

}  // namespace
}  // namespace hashevict::engine
