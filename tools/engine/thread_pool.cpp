// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.hpp"

#include <algorithm>

namespace hashevict::engine {
namespace {

thread_local bool inside_task = false;

}  // namespace

ThreadPool::ThreadPool(std::int32_t num_threads) {
  if (num_threads <= 0) num_threads = std::max(1, static_cast<std::int32_t>(std::thread::hardware_concurrency()));
  for (std::int32_t i = 1; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(void* pool, std::int64_t num_tasks, void (*task)(void* argument, std::int64_t index),
                     void* argument) {
  auto& self = *static_cast<ThreadPool*>(pool);
  if (num_tasks > 1 && !self.threads_.empty() && !inside_task) {
    self.start({task, argument, num_tasks});
  } else {
    for (std::int64_t i = 0; i < num_tasks; ++i) task(argument, i);
  }
}

// A worker joins a loop and leaves it under the lock. So when no worker is in it and no task is left, all are done, and
// a worker that wakes late finds nothing to join.
void ThreadPool::start(const Loop& loop) {
  {
    const std::lock_guard lock(mutex_);
    next_.store(0, std::memory_order_relaxed);
    loop_ = &loop;
    ++generation_;
  }
  wake_.notify_all();
  take_tasks(loop);
  std::unique_lock lock(mutex_);
  loop_ = nullptr;
  idle_.wait(lock, [this] { return num_working_ == 0; });
}

void ThreadPool::take_tasks(const Loop& loop) {
  inside_task = true;
  for (std::int64_t i = next_++; i < loop.num_tasks; i = next_++) loop.task(loop.argument, i);
  inside_task = false;
}

void ThreadPool::work() {
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || (loop_ != nullptr && generation_ != seen); });
    if (stopping_) return;
    seen = generation_;
    const Loop& loop = *loop_;
    ++num_working_;
    lock.unlock();
    take_tasks(loop);
    lock.lock();
    if (--num_working_ == 0) idle_.notify_one();
  }
}

}  // namespace hashevict::engine
