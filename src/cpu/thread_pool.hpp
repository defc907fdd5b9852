// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace hashevict::cpu {

/// A fixed set of threads, owned by one cache. Only one run() at a time; the calling thread works too.
class ThreadPool {
 public:
  using Task = void (*)(void* argument, int64_t index);

  /// Starts `num_threads - 1` threads.
  explicit ThreadPool(int32_t num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Runs `task(argument, i)` for every i in [0, num_tasks) and returns when all have finished. Does not allocate.
  void run(int64_t num_tasks, Task task, void* argument);

 private:
  void join();
  void serve();
  void work();

  Task task_ = nullptr;
  void* argument_ = nullptr;
  int64_t num_tasks_ = 0;
  std::atomic<uint32_t> generation_{0};       ///< incremented by every run() and by the destructor
  alignas(64) std::atomic<int64_t> next_{0};  ///< on lines that waiting threads do not read
  alignas(64) std::atomic<int32_t> busy_{0};  ///< threads that have not finished the current run
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace hashevict::cpu
