// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <vector>

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
        context_{settings.execution.parallel_for_context},
        shares_(static_cast<std::size_t>(num_workers_)) {
    if (parallel_for_ == nullptr) pool_ = make_pool(settings);
  }

  [[nodiscard]] int32_t num_workers() const { return num_workers_; }

  /// Calls `body(item, worker)` for every item in [0, num_items), with worker in [0, num_workers). Worker w takes items
  /// w, w + num_workers, .. and then what is left of the others' shares, so the body must not depend on the worker's
  /// number. One worker has an item's memory in its caches from call to call, and workers hardly ever write to a line
  /// of each other. One item wakes nobody: the calling thread does it. Does not allocate.
  template <class Body>
  void for_each(int64_t num_items, const Body& body) {
    const int64_t num_tasks = std::min<int64_t>(num_items, num_workers_);
    struct Job {
      const Body* body;
      std::vector<Share>* shares;
      int64_t num_items;
      int64_t num_tasks;
    } job{&body, &shares_, num_items, num_tasks};
    for (Share& share : shares_) share.taken.store(0, std::memory_order_relaxed);
    const auto worker_loop = [](void* argument, int64_t worker) {
      const Job& all = *static_cast<const Job*>(argument);
      for (int64_t i = 0; i < all.num_tasks; ++i) {
        const int64_t owner = (worker + i) % all.num_tasks;
        std::atomic<int64_t>& taken = (*all.shares)[static_cast<std::size_t>(owner)].taken;
        const auto next = [&] { return owner + all.num_tasks * taken.fetch_add(1, std::memory_order_relaxed); };
        for (int64_t item = next(); item < all.num_items; item = next()) {
          (*all.body)(item, static_cast<int32_t>(worker));
        }
      }
    };
    if (num_tasks <= 1) {
      worker_loop(&job, 0);
    } else if (parallel_for_ != nullptr) {
      parallel_for_(context_, num_tasks, worker_loop, &job);
    } else {
      pool_->run(num_tasks, worker_loop, &job);
    }
  }

 private:
  /// Items of a worker's share that have been taken, on a cache line of its own.
  struct alignas(64) Share {
    std::atomic<int64_t> taken{0};
  };

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
  std::vector<Share> shares_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace hashevict::cpu
