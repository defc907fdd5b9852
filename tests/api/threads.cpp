// SPDX-License-Identifier: Apache-2.0
// Caches and threads. The number of threads changes no result, different caches are independent, and a caller's own
// parallel loop replaces the pool.
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// All outputs and state of a prompt and some steps, in one vector.
std::vector<float> run(const Config& config) {
  Cache cache{config};
  StepData prompt{config, 64, 5};
  prompt.set_rows({40, 20, 4});
  cache.prefill(prompt.args, Stream{});
  std::vector<float> all;
  for (uint64_t i = 0; i < 12; ++i) {
    StepData step{config, 5, 50 + i};
    step.set_rows({2, 1, 2});
    cache.decode(step.args, Stream{});
    StepData query{config, 3, 90 + i};
    query.set_rows({1, 1, 1});
    cache.attend(query.args, Stream{});
    for (const StepData* const data : {&step, &query}) {
      all.insert(all.end(), data->out.begin(), data->out.end());
      all.insert(all.end(), data->lse.begin(), data->lse.end());
    }
    all.insert(all.end(), step.victims.begin(), step.victims.end());
  }
  for (const std::byte b : save_all(cache)) all.push_back(static_cast<float>(b));
  return all;
}

TEST(Threads, NumberChangesNoResult) {
  for (const Policy policy : {Policy::hash, Policy::superseded, Policy::votes, Policy::importance}) {
    Config config = small_config();
    config.rule.policy = policy;
    const std::vector<float> expected = run(config);
    for (const int32_t threads : {2, 3, 7, 0}) {
      config.execution.num_threads = threads;
      EXPECT_EQ(run(config), expected) << threads << " threads";
    }
  }
}

TEST(Threads, DifferentCachesRunAtTheSameTime) {
  Config config = small_config();
  config.execution.num_threads = 2;
  const std::vector<float> expected = run(config);
  std::array<std::vector<float>, 4> results;
  std::vector<std::thread> threads;
  for (std::vector<float>& result : results) threads.emplace_back([&] { result = run(config); });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& result : results) EXPECT_EQ(result, expected);
}

TEST(Threads, CacheMayBeUsedFromOneThreadAfterAnother) {
  Config config = small_config();
  config.execution.num_threads = 3;
  Cache cache{config};
  Cache expected{config};
  for (uint64_t i = 0; i < 8; ++i) {
    std::thread{[&] { feed(cache, 0, 4, i); }}.join();
    feed(expected, 0, 4, i);
  }
  EXPECT_EQ(save_all(cache), save_all(expected));
}

/// Limits the address space of this process for the object's lifetime.
class AddressSpace {
 public:
  explicit AddressSpace(rlim_t bytes) {
    EXPECT_EQ(getrlimit(RLIMIT_AS, &before_), 0);
    const rlimit lowered{bytes, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_AS, &lowered), 0);
  }
  ~AddressSpace() { EXPECT_EQ(setrlimit(RLIMIT_AS, &before_), 0); }
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

 private:
  rlimit before_{};
};

TEST(Threads, ThatTheSystemRefusesAreNamed) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer takes more address space than there may be";
  Config config = small_config();
  const std::vector<float> expected = run(config);
  config.execution.num_threads = 1000;
  const hashevict_config c = c_config_of(config);
  hashevict_cache* cache = nullptr;
  const Outcome outcome = [&] {
    const AddressSpace enough_for_some{rlim_t{3} << 30};
    return outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&c, nullptr, &cache, error); });
  }();
  expect_refused(outcome, {HASHEVICT_OUT_OF_MEMORY, {"config.execution.num_threads = 1000", "expected"}});
  EXPECT_EQ(cache, nullptr);
  config.execution.num_threads = 4;
  EXPECT_EQ(run(config), expected);
}

/// A caller's loop that counts its uses and runs tasks in reverse order on its own threads.
struct OwnLoop {
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> tasks{0};

  static void run(void* context, int64_t num_tasks, void (*task)(void*, int64_t), void* argument) {
    auto& loop = *static_cast<OwnLoop*>(context);
    ++loop.calls;
    loop.tasks += num_tasks;
    std::vector<std::thread> threads;
    for (int64_t i = num_tasks; i-- > 0;) threads.emplace_back([=] { task(argument, i); });
    for (std::thread& thread : threads) thread.join();
  }
};

TEST(ParallelFor, OfTheCallerIsUsedAndChangesNoResult) {
  Config config = small_config();
  const std::vector<float> expected = run(config);
  for (const int32_t threads : {2, 4}) {
    OwnLoop loop;
    config.execution.num_threads = threads;
    config.execution.parallel_for = OwnLoop::run;
    config.execution.parallel_for_context = &loop;
    EXPECT_EQ(run(config), expected);
    EXPECT_GT(loop.calls, 0);
    EXPECT_GT(loop.tasks, loop.calls) << "work is given out in more than one task";
  }
}

/// All operations that take a batch, once.
void run_batch(Cache& cache, StepData& step) {
  cache.prefill(step.args, Stream{});
  cache.evict(step.args, Stream{});
  cache.append(step.args, Stream{});
  cache.attend(step.args, Stream{});
  cache.decode(step.args, Stream{});
}

TEST(ParallelFor, OfACallWithoutTokensOrWithOneItemIsNotUsed) {
  Config config = small_config();
  config.shape.num_kv_heads = 1;
  OwnLoop loop;
  config.execution.num_threads = 4;
  config.execution.parallel_for = OwnLoop::run;
  config.execution.parallel_for_context = &loop;
  Cache cache{config};
  loop.calls = 0;
  StepData skipped{config, 6, 7};
  skipped.set_rows({1, 2, 3});
  skipped.set_sequences({-1, -1, -1});
  run_batch(cache, skipped);
  EXPECT_EQ(loop.calls, 0);
  StepData one{config, 1, 8};
  one.set_rows({1});
  run_batch(cache, one);
  EXPECT_EQ(loop.calls, 0);
  StepData two{config, 2, 9};
  two.set_rows({1, 1});
  cache.decode(two.args, Stream{});
  EXPECT_GT(loop.calls, 0) << "the loop is there to be used";
}

}  // namespace
}  // namespace hashevict::test
