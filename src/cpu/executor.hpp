// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <system_error>

#include "core/failure.hpp"
#include "core/settings.hpp"
#include "cpu/thread_pool.hpp"

namespace hashevict::cpu {

/// Distributes independent items over workers: on the caller's parallel_for if the config has one, else on the cache's
/// own pool. A worker's number selects its part of the workspace.
class Executor {
 public:
  explicit Executor(const core::Settings& settings)
      : num_workers_{settings.execution.num_workers},
        parallel_for_{settings.execution.parallel_for},
        context_{settings.execution.parallel_for_context} {
    if (parallel_for_ == nullptr) pool_ = make_pool(settings);
  }

  [[nodiscard]] int32_t num_workers() const { return num_workers_; }

  /// Calls `body(item, worker)` for every item in [0, num_items), with worker in [0, num_workers). A worker takes the
  /// next item when it is free, so the body must not depend on the worker's number. One item wakes nobody: the calling
  /// thread does it. Does not allocate.
  template <class Body>
  void for_each(int64_t num_items, const Body& body) {
    struct Job {
      const Body* body;
      int64_t num_items;
      std::atomic<int64_t> next{0};
    } job{&body, num_items};
    const auto worker_loop = [](void* argument, int64_t worker) {
      Job& shared = *static_cast<Job*>(argument);
      for (int64_t item = shared.next.fetch_add(1); item < shared.num_items; item = shared.next.fetch_add(1)) {
        (*shared.body)(item, static_cast<int32_t>(worker));
      }
    };
    const int64_t num_tasks = std::min<int64_t>(num_items, num_workers_);
    if (num_tasks <= 1) {
      worker_loop(&job, 0);
    } else if (parallel_for_ != nullptr) {
      parallel_for_(context_, num_tasks, worker_loop, &job);
    } else {
      pool_->run(num_tasks, worker_loop, &job);
    }
  }

 private:
  static std::unique_ptr<ThreadPool> make_pool(const core::Settings& settings) {
    try {
      return std::make_unique<ThreadPool>(settings.execution.num_workers);
    } catch (const std::system_error& error) {
      core::fail(HASHEVICT_OUT_OF_MEMORY,
                 "config.execution.num_threads = {}: the system does not give {} threads ({}): expected fewer, or a "
                 "parallel_for",
                 settings.execution.num_threads, settings.execution.num_workers, error.what());
    }
  }

  int32_t num_workers_;
  hashevict_parallel_for parallel_for_;
  void* context_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace hashevict::cpu
