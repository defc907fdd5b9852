// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.hpp"

#include <hashevict/cache.hpp>
#include <string>
#include <system_error>

namespace hashevict::engine {
namespace {

thread_local bool inside_task = false;

std::int32_t resolved(std::int32_t num_threads) {
  if (num_threads < 0 || num_threads > HASHEVICT_MAX_THREADS) {
    throw Error{Status::invalid_argument, "threads = " + std::to_string(num_threads) + ": expected 0 to " +
                                              std::to_string(HASHEVICT_MAX_THREADS)};
  }
  return num_threads > 0 ? num_threads : Cache::capabilities(Backend::cpu).num_hardware_threads;
}

}  // namespace

ThreadPool::ThreadPool(std::int32_t num_threads) {
  const std::int32_t wanted = resolved(num_threads);
  threads_.reserve(static_cast<std::size_t>(wanted - 1));
  try {
    for (std::int32_t i = 1; i < wanted; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    const std::size_t given = threads_.size() + 1;
    join();  // running threads must end before the object does
    throw Error{Status::out_of_memory, "threads = " + std::to_string(wanted) + ": the system gives no more than " +
                                           std::to_string(given) + " (" + error.what() + "): expected fewer"};
  }
}

ThreadPool::~ThreadPool() {
  join();
}

void ThreadPool::join() {
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

// A worker joins and leaves a loop under the lock. So when no worker is in it and no task is left, all tasks are done,
// and a worker that wakes late finds no loop to join.
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
