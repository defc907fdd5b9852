// SPDX-License-Identifier: Apache-2.0
#include "cpu/thread_pool.hpp"

namespace hashevict::cpu {
namespace {

/// Waits until `value` differs from `old`. It spins briefly, since layers follow each other within microseconds, then
/// sleeps.
template <class T>
T wait_for_change(const std::atomic<T>& value, T old) {
  constexpr int kSpins = 1000;
  for (int i = 0; i < kSpins; ++i) {
    if (const T now = value.load(std::memory_order_acquire); now != old) return now;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int32_t num_threads) {
  threads_.reserve(static_cast<std::size_t>(num_threads - 1));
  try {
    for (int32_t i = 1; i < num_threads; ++i) threads_.emplace_back([this] { serve(); });
  } catch (...) {
    join();  // the system started fewer threads than asked for; those that run must end before the object does
    throw;
  }
}

ThreadPool::~ThreadPool() {
  join();
}

void ThreadPool::join() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(int64_t num_tasks, Task task, void* argument) {
  task_ = task;
  argument_ = argument;
  num_tasks_ = num_tasks;
  next_.store(0, std::memory_order_relaxed);
  const bool alone = threads_.empty() || num_tasks <= 1;
  if (!alone) {
    busy_.store(static_cast<int32_t>(threads_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  work();
  if (alone) return;
  for (int32_t busy = busy_.load(std::memory_order_acquire); busy != 0;) busy = wait_for_change(busy_, busy);
}

void ThreadPool::work() {
  for (int64_t i = next_.fetch_add(1, std::memory_order_relaxed); i < num_tasks_;
       i = next_.fetch_add(1, std::memory_order_relaxed)) {
    task_(argument_, i);
  }
}

void ThreadPool::serve() {
  uint32_t seen = 0;
  while (true) {
    seen = wait_for_change(generation_, seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    work();
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

}  // namespace hashevict::cpu
