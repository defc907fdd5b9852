// SPDX-License-Identifier: Apache-2.0
#include "simt/executor.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace hashevict::simt {
namespace {

thread_local Executor* running = nullptr;

/// Shared by all launches of a host thread: mapping a stack is slow.
StackPool& stacks() {
  thread_local StackPool pool;
  return pool;
}

constexpr int64_t kMaxSharedBytes = 227 * 1024;
constexpr int32_t kMaxThreads = 1024;

}  // namespace

Executor::Executor(const Launch& launch, std::function<void()> kernel)
    : launch_{launch}, kernel_{std::move(kernel)}, random_{launch.seed} {
  if (launch.threads < 1 || launch.threads > kMaxThreads) throw Report{header() + "a block has 1 to 1024 threads"};
  if (launch.shared_bytes > kMaxSharedBytes) throw Report{header() + "a block has at most 227 KiB of shared memory"};
}

Executor& Executor::current() {
  if (running == nullptr) throw std::logic_error{"a primitive was called outside of a launch"};
  return *running;
}

std::string Executor::header() const {
  return "launch of " + std::to_string(launch_.grid_x) + "x" + std::to_string(launch_.grid_y) + " blocks of " +
         std::to_string(launch_.threads) + " threads, seed " + std::to_string(launch_.seed) + ": ";
}

void Executor::start_block(int32_t index) {
  auto block = std::make_unique<Block>();
  block->index = index;
  for (int32_t t = 0; t < launch_.threads; ++t) {
    auto thread = std::make_unique<Thread>();
    Thread& added = *thread;
    added.progress.block = index;
    added.progress.thread = t;
    added.block = block.get();
    added.copies.emplace_back();
    added.fiber = std::make_unique<Fiber>(stacks(), [this, &added] { run_thread(added); });
    ready_.push_back(&added);
    block->threads.push_back(std::move(thread));
  }
  alive_.push_back(std::move(block));
}

void Executor::run_thread(Thread& thread) {
  try {
    if (!cancelled_) {
      kernel_();
      end_thread();
    }
  } catch (const Cancelled&) {
  } catch (const std::exception& e) {
    if (fault_.empty()) fault_ = header() + "the kernel threw: " + e.what();
    cancelled_ = true;
  }
  thread.state = State::done;
}

void Executor::end_thread() {
  Thread& thread = *thread_;
  thread.state = State::done;
  ++thread.block->num_done;
  const bool in_flight =
      std::any_of(thread.copies.begin(), thread.copies.end(), [](const auto& g) { return !g.empty(); });
  if (in_flight) fail(text_of_thread() + " ended without waiting for its asynchronous copies");
  check_nobody_misses(thread);
}

void Executor::resume(Thread& thread) {
  thread_ = &thread;
  thread.fiber->resume();
  thread_ = nullptr;
}

void Executor::run() {
  Executor* const outer = std::exchange(running, this);
  std::vector<int32_t> order(static_cast<std::size_t>(launch_.grid_x) * static_cast<std::size_t>(launch_.grid_y));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  std::size_t next = 0;
  while (fault_.empty() && (next < order.size() || !alive_.empty())) {
    while (next < order.size() && alive_.size() < static_cast<std::size_t>(std::max(1, launch_.blocks_at_once))) {
      start_block(order[next++]);
    }
    if (ready_.empty()) {
      try {
        fail_deadlock();
      } catch (const Cancelled&) {
        break;
      }
    }
    std::swap(ready_[random_() % ready_.size()], ready_.back());
    Thread& thread = *ready_.back();
    ready_.pop_back();
    resume(thread);
    std::erase_if(alive_, [&](const auto& block) { return block->num_done == launch_.threads; });
  }
  if (!fault_.empty()) unwind();
  running = outer;
  if (!fault_.empty()) throw Report{fault_};
}

/// Every fiber that is still on its way leaves through an exception, so that its locals are destroyed.
void Executor::unwind() {
  cancelled_ = true;
  for (const auto& block : alive_) {
    for (const auto& thread : block->threads) {
      if (!thread->fiber->done()) resume(*thread);
    }
  }
  alive_.clear();
}

void Executor::wake(Thread& thread) {
  thread.state = State::ready;
  ready_.push_back(&thread);
}

void Executor::maybe_yield() {
  const uint64_t one_in = launch_.blocks_at_once > 1 ? 4 : 16;
  if (random_() % one_in != 0) return;
  wake(*thread_);
  thread_->fiber->suspend();
  if (cancelled_) throw Cancelled{};
}

Executor::Thread& Executor::lane_of_warp(const Thread& thread, int32_t lane) const {
  return *thread.block->threads[static_cast<std::size_t>(thread.progress.warp() * 32 + lane)];
}

bool Executor::has_lane(const Thread& thread, int32_t lane) const {
  return thread.progress.warp() * 32 + lane < launch_.threads;
}

uint64_t Executor::meet(Meeting meeting, uint32_t mask, uint64_t value, int32_t source_lane, Place place) {
  Thread& thread = *thread_;
  thread.meeting = meeting;
  thread.mask = mask;
  thread.value = value;
  thread.source_lane = source_lane;
  thread.place = place;
  thread.state = State::waiting;
  if (meeting <= Meeting::block_max) {
    try_block_meeting();
  } else {
    try_warp_meeting();
  }
  thread.fiber->suspend();
  if (cancelled_) throw Cancelled{};
  return thread.value;
}

void Executor::access_global(const void* address, std::size_t bytes, std::size_t alignment, AccessKind kind,
                             Place place) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    fail(text_of_thread() + ", misaligned access of " + std::to_string(bytes) + " bytes at " + text_of(place));
  }
  maybe_yield();
  const std::string wrong = global_.record(address, bytes, kind, thread_->progress, place);
  if (!wrong.empty()) fail(text_of_thread() + ", global memory, " + text_of(place) + ": " + wrong);
}

SharedRegion& Executor::take_shared(std::size_t n, std::size_t count, std::size_t element_bytes, Place place) {
  Block& block = *thread_->block;
  if (n < block.shared.size()) {
    SharedRegion& region = *block.shared[n];
    if (region.element_bytes != element_bytes || region.cells.size() != count) {
      fail(text_of_thread() + " takes another shared array at " + text_of(place) + " than the rest of its block");
    }
    return region;
  }
  auto region = std::make_unique<SharedRegion>();
  region->element_bytes = element_bytes;
  region->cells.resize(count);
  region->bytes.resize(count * element_bytes);
  std::generate(region->bytes.begin(), region->bytes.end(), [&] { return static_cast<unsigned char>(random_()); });
  block.shared_used += static_cast<int64_t>((region->bytes.size() + 15) / 16 * 16);
  if (block.shared_used > launch_.shared_bytes) {
    fail(text_of_thread() + " takes " + std::to_string(block.shared_used) + " bytes of shared memory at " +
         text_of(place) + "; the launch gave " + std::to_string(launch_.shared_bytes));
  }
  block.shared.push_back(std::move(region));
  return *block.shared.back();
}

void Executor::access_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place) {
  const auto size = static_cast<int32_t>(region.cells.size());
  const std::string where = text_of_thread() + ", shared memory, " + text_of(place) + ": ";
  if (first < 0 || count > size - first) {
    fail(where + "element " + std::to_string(first) + " out of range, the array has " + std::to_string(size));
  }
  const std::size_t bytes = static_cast<std::size_t>(count) * region.element_bytes;
  if (count > 1 && static_cast<std::size_t>(first) * region.element_bytes % std::min<std::size_t>(bytes, 16) != 0) {
    fail(where + "misaligned access of " + std::to_string(bytes) + " bytes");
  }
  for (int32_t i = first; i < first + count; ++i) {
    Cell& cell = region.cells[static_cast<std::size_t>(i)];
    const bool initialised = !cell.writes.none() || cell.in_flight;
    if (kind == AccessKind::read && !initialised) fail(where + "read of uninitialised element " + std::to_string(i));
    const std::string wrong = record(cell, kind, thread_->progress, place);
    if (!wrong.empty()) fail(where + "element " + std::to_string(i) + ": " + wrong);
  }
}

void Executor::copy_async(SharedRegion& region, int32_t first, int32_t count, const void* source, Place place) {
  access_global(source, 16, 16, AccessKind::read, place);
  access_shared(region, first, count, AccessKind::write, place);
  for (int32_t i = first; i < first + count; ++i) region.cells[static_cast<std::size_t>(i)].in_flight = true;
  thread_->copies.back().push_back({&region, first, count, source, place});
}

void Executor::commit_copies() {
  thread_->copies.emplace_back();
}

void Executor::wait_for_copies(std::size_t pending) {
  while (thread_->copies.size() > pending + 1) {  // the last group is not committed
    finish_copies(thread_->copies.front());
    thread_->copies.pop_front();
  }
}

void Executor::finish_copies(std::vector<Copy>& group) {
  for (const Copy& copy : group) {
    const auto first = static_cast<std::size_t>(copy.first);
    const auto* const source = static_cast<const unsigned char*>(copy.source);
    std::copy_n(source, 16,
                copy.region->bytes.begin() + static_cast<std::ptrdiff_t>(first * copy.region->element_bytes));
    for (int32_t i = copy.first; i < copy.first + copy.count; ++i) {
      Cell& cell = copy.region->cells[static_cast<std::size_t>(i)];
      cell.in_flight = false;
      cell.writes.add(thread_->progress, copy.place);
    }
  }
  group.clear();
}

}  // namespace hashevict::simt
