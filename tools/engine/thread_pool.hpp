// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace hashevict::engine {

/// A fixed set of threads and one parallel loop. The calling thread works too, so a pool of one starts no thread.
/// One thread at a time may start loops; a loop started within a task runs on that task's thread alone. The engine and
/// its cache share one pool: a cache whose config brings a loop makes no pool of its own.
class ThreadPool {
 public:
  /// @param num_threads up to HASHEVICT_MAX_THREADS; 0: all that this process may use
  /// @throws Error out_of_memory if the system gives fewer, invalid_argument for another number; all threads are joined
  explicit ThreadPool(std::int32_t num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::int32_t num_threads() const { return static_cast<std::int32_t>(threads_.size()) + 1; }

  /// Runs `task(i)` for every i in [0, num_tasks) and returns when all are done. `task` does not throw.
  template <class Task>
  void parallel_for(std::int64_t num_tasks, const Task& task) {
    run(
        this, num_tasks, [](void* argument, std::int64_t i) { (*static_cast<const Task*>(argument))(i); },
        const_cast<Task*>(&task));
  }

  /// The loop for `hashevict_execution::parallel_for`; its context is the pool. Lets a cache use the engine's threads.
  static void run(void* pool, std::int64_t num_tasks, void (*task)(void* argument, std::int64_t index), void* argument);

 private:
  struct Loop {
    void (*task)(void* argument, std::int64_t index);
    void* argument;
    std::int64_t num_tasks;
  };
  void start(const Loop& loop);
  void take_tasks(const Loop& loop);
  void work();
  void join();

  std::vector<std::thread> threads_;
  std::mutex mutex_;  // guards the members below, except next_
  std::condition_variable wake_, idle_;
  const Loop* loop_ = nullptr;  // the loop that workers may join
  std::uint64_t generation_ = 0;
  std::int32_t num_working_ = 0;
  bool stopping_ = false;
  std::atomic<std::int64_t> next_ = 0;
};

}  // namespace hashevict::engine
