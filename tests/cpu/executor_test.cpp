// SPDX-License-Identifier: Apache-2.0
// The distribution of items over workers.
#include "cpu/executor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace hashevict::cpu {
namespace {

core::Settings settings_of(int32_t workers, hashevict_parallel_for parallel_for = nullptr) {
  core::Settings settings;
  settings.execution.num_threads = settings.execution.num_workers = workers;
  settings.execution.parallel_for = parallel_for;
  return settings;
}

/// Runs the tasks one after the other, the last one first.
void backwards(void* /*context*/, int64_t num_tasks, void (*task)(void* argument, int64_t index), void* argument) {
  for (int64_t i = num_tasks - 1; i >= 0; --i) task(argument, i);
}

TEST(Executor, GivesEveryItemOnceToAWorker) {
  for (const hashevict_parallel_for parallel_for :
       {hashevict_parallel_for{nullptr}, hashevict_parallel_for{backwards}}) {
    for (const int32_t workers : {1, 2, 3, 8}) {
      Executor executor{settings_of(workers, parallel_for)};
      for (const int64_t items : {0, 1, 2, 7, 8, 9, 100}) {
        std::vector<std::atomic<int>> taken(static_cast<std::size_t>(items));
        std::atomic<bool> known{true};
        executor.for_each(items, [&](int64_t item, int32_t worker) {
          taken[static_cast<std::size_t>(item)] += 1;
          if (worker < 0 || worker >= workers) known = false;
        });
        for (const std::atomic<int>& count : taken) EXPECT_EQ(count, 1);
        EXPECT_TRUE(known) << items << " items, " << workers << " workers";
      }
    }
  }
}

/// Whoever has item 0 keeps it until all others are done, those of its own share included.
TEST(Executor, LetsOthersTakeTheShareOfABusyWorker) {
  constexpr int64_t kItems = 50;
  Executor executor{settings_of(3)};
  std::atomic<int64_t> done{0};
  executor.for_each(kItems, [&](int64_t item, int32_t /*worker*/) {
    while (item == 0 && done.load() < kItems - 1) std::this_thread::yield();
    done += 1;
  });
  EXPECT_EQ(done, kItems);
}

/// A single worker's order shows what a share is: its own items come first, in order.
TEST(Executor, GivesAWorkerItsOwnItemsFirst) {
  Executor executor{settings_of(3, backwards)};
  std::vector<int64_t> order;
  executor.for_each(8, [&](int64_t item, int32_t /*worker*/) { order.push_back(item); });
  EXPECT_EQ(order, (std::vector<int64_t>{2, 5, 0, 3, 6, 1, 4, 7}));
}

}  // namespace
}  // namespace hashevict::cpu
