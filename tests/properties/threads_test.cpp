// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>
#include <vector>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// Neither the number of threads nor their owner affects a result.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Threads);

/// Counts its calls and runs tasks in reverse order, or on its own threads.
struct CallersLoop {
  bool parallel = false;
  std::atomic<int64_t> num_tasks{0};

  static void run(void* context, int64_t num_tasks, void (*task)(void*, int64_t), void* argument) {
    auto& self = *static_cast<CallersLoop*>(context);
    self.num_tasks += num_tasks;
    if (!self.parallel) {
      for (int64_t i = num_tasks; i-- > 0;) task(argument, i);
      return;
    }
    std::atomic<int64_t> next{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int64_t i = next++; i < num_tasks; i = next++) task(argument, i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

Config wide_config() {
  Config config = small_config();
  config.shape.num_sequences = 3;
  config.shape.num_kv_heads = 3;
  config.shape.num_qo_heads = 6;
  config.shape.capacity = 40;
  config.rule.centering = Centering::prompt;
  return config;
}

/// Prompts in every mode and steps, over ragged batches.
std::vector<Outcome> run_everything(TestCache& cache) {
  std::vector<Outcome> all;
  Inputs inputs{1};
  const Config& config = cache.config();
  const auto run = [&](Operation operation, const Batch& batch, const Options& options = {}) {
    for (const Outcome& outcome : cache.run(operation, batch, options)) all.push_back(outcome);
  };
  Options window;
  window.mode = PrefillMode::window;
  window.window = 8;
  Options recent;
  recent.mode = PrefillMode::recent;
  Options full;
  full.attention = window.attention = recent.attention = PrefillAttention::full;
  run(Operation::prefill, {{1, inputs.draw(config, 90)}}, full);
  run(Operation::prefill, {{0, inputs.draw(config, 70)}}, window);
  run(Operation::prefill, {{2, inputs.draw(config, 60)}}, recent);
  for (int step = 0; step < 8; ++step) {
    run(Operation::decode, {{2, inputs.draw(config, 1)}, {-1, inputs.draw(config, 1)}, {0, inputs.draw(config, 3)}});
  }
  run(Operation::append, {{0, inputs.draw(config, 2)}, {1, inputs.draw(config, 2)}, {2, inputs.draw(config, 2)}});
  run(Operation::attend, {{1, inputs.draw(config, 1)}, {2, inputs.draw(config, 1)}});
  cache.cache().reset(1, Stream{});
  run(Operation::append, {{1, inputs.draw(config, 5)}});  // fits every head
  run(Operation::attend, {{1, inputs.draw(config, 5)}, {2, inputs.draw(config, 1)}});
  return all;
}

void expect_same(const std::vector<Outcome>& a, const std::vector<Outcome>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "outcome " << i << ", seed 1");
    test::expect_same(a[i], b[i]);
  }
}

TEST_P(Threads, OfAnyNumberGiveTheSameBits) {
  for (const Config& base : configs_with_ragged_heads(wide_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(base.rule.policy));
    TestCache single{GetParam(), base};
    const std::vector<Outcome> expected = run_everything(single);
    for (const int32_t threads : {2, 3, 8}) {
      SCOPED_TRACE(testing::Message() << threads << " threads");
      Config config = base;
      config.execution.num_threads = threads;
      TestCache cache{GetParam(), config};
      expect_same(run_everything(cache), expected);
      EXPECT_TRUE(cache.states() == single.states());
    }
  }
}

TEST_P(Threads, OfTheCallerGiveTheSameBits) {
  for (const bool parallel : {false, true}) {
    SCOPED_TRACE(testing::Message() << "parallel " << parallel);
    TestCache single{GetParam(), wide_config()};
    const std::vector<Outcome> expected = run_everything(single);
    CallersLoop loop;
    loop.parallel = parallel;
    Config config = wide_config();
    config.execution.num_threads = 3;
    config.execution.parallel_for = CallersLoop::run;
    config.execution.parallel_for_context = &loop;
    TestCache cache{GetParam(), config};
    expect_same(run_everything(cache), expected);
    EXPECT_TRUE(cache.states() == single.states());
    EXPECT_GT(loop.num_tasks, 0) << "the caller's loop was not used";
  }
}

TEST_P(Threads, OfManySplitsGiveTheSameBits) {
  SCOPED_TRACE("seed 2");
  Config config = small_config();
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = 2;
  config.shape.head_dim = 8;
  config.rule.hash_bits = 8;
  config.shape.capacity = 5000;
  config.execution.max_batch_tokens = 8192;
  std::vector<Outcome> outcomes;
  for (const int32_t threads : {1, 2, 5}) {
    config.execution.num_threads = threads;
    TestCache cache{GetParam(), config};
    Inputs inputs{2};
    cache.run(Operation::append, {{0, inputs.draw(config, 4500)}});
    outcomes.push_back(cache.run(Operation::attend, {{0, inputs.draw(config, 3)}}).front());
    join(outcomes.back(), cache.run(Operation::decode, {{0, inputs.draw(config, 2)}}).front());
  }
  test::expect_same(outcomes[1], outcomes[0]);
  test::expect_same(outcomes[2], outcomes[0]);
}

TEST_P(Threads, EachWithACacheOfItsOwnDoNotMeet) {
  TestCache single{GetParam(), wide_config()};
  const std::vector<Outcome> expected = run_everything(single);
  std::vector<std::vector<Outcome>> outcomes(4);
  std::vector<std::thread> threads;
  for (std::vector<Outcome>& outcome : outcomes) {
    threads.emplace_back([&outcome, backend = GetParam()] {
      Config config = wide_config();
      config.execution.num_threads = 2;
      TestCache cache{backend, config};
      outcome = run_everything(cache);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<Outcome>& outcome : outcomes) expect_same(outcome, expected);
}

}  // namespace
}  // namespace hashevict::test
