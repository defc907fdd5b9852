// SPDX-License-Identifier: Apache-2.0
#include "simt/executor.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace hashevict::simt {
namespace {

constexpr int32_t kMaxThreads = 1024;

}  // namespace

Executor::Pool& Executor::pool() {
  thread_local Pool pool;
  return pool;
}

void Executor::fail_outside() {
  throw std::logic_error{"a primitive was called outside of a launch"};
}

Executor::Executor(const Launch& launch, std::function<void()> kernel)
    : launch_{launch}, kernel_{std::move(kernel)}, random_{launch.seed} {
  if (launch.threads < 1 || launch.threads > kMaxThreads) throw Report{header() + "a block has 1 to 1024 threads"};
  if (launch.shared_bytes > launch.shared_limit) {
    throw Report{header() + "a block may have " + std::to_string(launch.shared_limit) +
                 " bytes of shared memory, not " + std::to_string(launch.shared_bytes)};
  }
  if (launch.cluster < 1 || launch.grid_x % launch.cluster != 0) {
    throw Report{header() + "clusters of " + std::to_string(launch.cluster) + " blocks do not divide the grid"};
  }
}

std::string Executor::header() const {
  return "launch of " + std::to_string(launch_.grid_x) + "x" + std::to_string(launch_.grid_y) + " blocks of " +
         std::to_string(launch_.threads) + " threads, seed " + std::to_string(launch_.seed) + ": ";
}

Executor::Block& Executor::start_block(int32_t index) {
  std::unique_ptr<Block> block;
  if (pool().blocks.empty()) {
    block = std::make_unique<Block>();
  } else {
    block = std::move(pool().blocks.back());
    pool().blocks.pop_back();
  }
  block->index = index;
  block->epoch = ++pool().epoch;
  block->num_shared = 0;
  block->shared_used = 0;
  block->num_done = 0;
  block->num_at_barrier = 0;
  block->waiting.fill(0);
  block->clock.clear();
  block->told = false;
  block->num_barriers = 0;
  block->known_time = 0;
  block->waited.clear();
  block->num_flying = 0;
  block->threads.resize(static_cast<std::size_t>(launch_.threads));
  for (int32_t t = 0; t < launch_.threads; ++t) {
    std::unique_ptr<Thread>& thread = block->threads[static_cast<std::size_t>(t)];
    if (thread == nullptr) thread = std::make_unique<Thread>();
    Thread& added = *thread;
    added.progress.block = index;
    added.progress.thread = t;
    added.progress.barriers = 0;
    added.progress.known = 0;
    added.progress.warp_clock.fill(0);
    added.progress.block_clock = &block->clock;
    added.progress.own_clock.clear();
    added.block = block.get();
    added.state = State::ready;
    added.has_waited = !launch_.chained;
    added.fenced = 0;
    added.told.clear();
    added.copies.clear();
    added.num_groups = 0;
    added.has_arrived = false;
    added.phases = 0;
    added.known_times.clear();
    added.waited.clear();
    added.fiber.emplace(pool().stacks, [this, &added] { run_thread(added); });
    ready_.push_back(&added);
  }
  alive_.push_back(std::move(block));
  return *alive_.back();
}

void Executor::start_cluster(int32_t first) {
  Cluster& cluster = *clusters_.emplace_back(std::make_unique<Cluster>());
  cluster.num_live = launch_.cluster * launch_.threads;
  for (int32_t rank = 0; rank < launch_.cluster; ++rank) {
    Block& block = start_block(first + rank);
    block.cluster = &cluster;
    cluster.blocks.push_back(&block);
  }
}

/// Returns finished blocks to the pool.
void Executor::end_blocks() {
  block_ended_ = false;
  const auto ended = std::partition(alive_.begin(), alive_.end(),
                                    [&](const auto& block) { return block->num_done < launch_.threads; });
  for (auto block = ended; block != alive_.end(); ++block) {
    for (const auto& thread : (*block)->threads) thread->fiber.reset();
    for (Block*& of_cluster : (*block)->cluster->blocks) {
      if (of_cluster == block->get()) of_cluster = nullptr;
    }
    pool().blocks.push_back(std::move(*block));
  }
  alive_.erase(ended, alive_.end());
  std::erase_if(clusters_, [](const auto& cluster) { return cluster->num_live == 0; });
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
  Block& block = *thread.block;
  block_ended_ = ++block.num_done == launch_.threads;
  if (!thread.has_waited) fail(text_of_thread() + " ended before it waited for the launch before");
  if (!thread.copies.empty()) fail(text_of_thread() + " ended before it waited for its copies");
  const bool missed = block.num_at_barrier > 0 || block.waiting[static_cast<std::size_t>(thread.progress.warp())] != 0;
  if (missed) check_nobody_misses(thread);
  leave_cluster(thread);
}

void Executor::resume(Thread& thread) {
  thread_ = &thread;
  thread.fiber->resume();
  thread_ = nullptr;
}

void Executor::run() {
  Executor* const outer = std::exchange(running_, this);
  if (pool().shadows.empty()) pool().shadows.push_back(std::make_unique<GlobalShadow>());
  global_ = std::move(pool().shadows.back());
  pool().shadows.pop_back();
  global_->start_launch();
  run_blocks();
  if (!fault_.empty()) unwind();
  pool().shadows.push_back(std::move(global_));
  running_ = outer;
  if (!fault_.empty()) throw Report{fault_};
}

void Executor::run_blocks() {
  const auto blocks = static_cast<std::size_t>(launch_.grid_x) * static_cast<std::size_t>(launch_.grid_y);
  std::vector<int32_t> order(blocks / static_cast<std::size_t>(launch_.cluster));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  std::size_t next = 0;
  while (fault_.empty() && (next < order.size() || !alive_.empty())) {
    while (next < order.size() && alive_.size() < static_cast<std::size_t>(std::max(1, launch_.blocks_at_once))) {
      start_cluster(launch_.cluster * order[next++]);
    }
    try {
      if (may_land()) {
        land(random_.below(static_cast<uint32_t>(flying_.size())));
        continue;
      }
      if (ready_.empty()) fail_deadlock();
    } catch (const Cancelled&) {
      break;
    }
    std::swap(ready_[random_.below(static_cast<uint32_t>(ready_.size()))], ready_.back());
    Thread& thread = *ready_.back();
    ready_.pop_back();
    resume(thread);
    if (block_ended_) end_blocks();
  }
}

/// Ends every unfinished fiber by an exception, so that its locals are destroyed.
void Executor::unwind() {
  cancelled_ = true;
  for (const auto& block : alive_) {
    for (const auto& thread : block->threads) {
      if (!thread->fiber->done()) resume(*thread);
      thread->fiber.reset();
    }
  }
  alive_.clear();
  clusters_.clear();
  flying_.clear();
}

void Executor::wake(Thread& thread) {
  thread.state = State::ready;
  ready_.push_back(&thread);
}

void Executor::yield() {
  const uint32_t one_in = launch_.blocks_at_once > 1 ? 6 : 16;
  until_yield_ = 1 + static_cast<int32_t>(random_.below(2 * one_in - 1));
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

void Executor::fail_access(const char* space, const Place& place, const std::string& wrong) const {
  fail(text_of_thread() + ", " + space + " memory, " + text_of(place) + ": " + wrong);
}

void Executor::fence() {
  Thread& thread = *thread_;
  thread.fenced = thread.progress.known;
  if (!thread.told.empty()) {
    thread.progress.own_clock.learn(thread.told);
    thread.told.clear();
    thread.block->told = true;
  }
  maybe_yield();
}

void Executor::access_global(const void* address, std::size_t bytes, std::size_t alignment, AccessKind kind,
                             Place place) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    fail(text_of_thread() + ", misaligned access of " + std::to_string(bytes) + " bytes at " + text_of(place));
  }
  if (kind != AccessKind::constant) maybe_yield();
  Thread& thread = *thread_;
  if (!thread.has_waited) fail_access("global", place, "before the thread waited for the launch before");
  const Conflict conflict = global_->record(address, bytes, kind, thread.progress, place);
  if (conflict) fail_access("global", place, conflict.text(kind, thread.progress));
  if (kind != AccessKind::atomic) return;
  BlockClock& released = global_->released_at(address);
  thread.told.learn(released);
  released.learn(thread.progress.block, thread.fenced);
  released.learn(thread.block->clock);
  released.learn(thread.progress.own_clock);
}

SharedRegion& Executor::take_shared(std::size_t n, std::size_t count, std::size_t element_bytes, Place place) {
  Block& block = *thread_->block;
  if (n < block.num_shared) {
    SharedRegion& region = *block.shared[n];
    if (region.element_bytes != element_bytes || region.count != count) {
      fail(text_of_thread() + " takes another shared array at " + text_of(place) + " than the rest of its block");
    }
    return region;
  }
  if (n == block.shared.size()) block.shared.push_back(std::make_unique<SharedRegion>());
  SharedRegion& region = *block.shared[n];
  const std::size_t bytes = count * element_bytes;
  block.shared_used += static_cast<int64_t>((bytes + 15) / 16 * 16);
  if (block.shared_used > launch_.shared_bytes) {
    fail(text_of_thread() + " takes " + std::to_string(block.shared_used) + " bytes of shared memory at " +
         text_of(place) + "; the launch gave " + std::to_string(launch_.shared_bytes));
  }
  region.index = block.num_shared++;
  region.epoch = block.epoch;
  region.barriers.clear();
  region.targets.clear();
  region.copied.clear();
  region.element_bytes = element_bytes;
  region.count = count;
  if (region.cells.size() < count) region.cells.resize(count);
  region.bytes.resize((bytes + 7) / 8 * 8);
  for (std::size_t i = 0; i < region.bytes.size(); i += 8) {
    const uint64_t word = random_();
    std::memcpy(&region.bytes[i], &word, sizeof word);
  }
  return region;
}

void Executor::use_static_shared(int32_t bytes, Place place) {
  if (bytes <= launch_.shared_limit - launch_.shared_bytes) return;
  fail(text_of_thread() + " has " + std::to_string(bytes) + " bytes of static shared memory at " + text_of(place) +
       " beside the launch's " + std::to_string(launch_.shared_bytes) + "; a block may have " +
       std::to_string(launch_.shared_limit));
}

void Executor::check_range(const SharedRegion& region, int32_t first, int32_t count, Place place) const {
  const auto size = static_cast<int32_t>(region.count);
  if (first < 0 || count > size - first) {
    fail_access("shared", place,
                "element " + std::to_string(first) + " out of range, the array has " + std::to_string(size));
  }
  const std::size_t bytes = static_cast<std::size_t>(count) * region.element_bytes;
  if (count > 1 && static_cast<std::size_t>(first) * region.element_bytes % std::min<std::size_t>(bytes, 16) != 0) {
    fail_access("shared", place, "misaligned access of " + std::to_string(bytes) + " bytes");
  }
}

void Executor::access_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place) {
  check_range(region, first, count, place);
  if (!region.targets.empty()) {
    if (kind != AccessKind::read) fail_access("shared", place, "write to what bulk copies fill");
    read_bulk(region, first, count, place);
    return;
  }
  record_shared(region, first, count, kind, place);
  if (region.copied.empty()) return;
  for (int32_t i = first; i < first + count; ++i) {
    CopyState& state = region.copied[static_cast<std::size_t>(i)];
    if (state == CopyState::unread) state = CopyState::none;
  }
}

void Executor::record_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place) {
  const uint16_t number = number_of(place);
  for (int32_t i = first; i < first + count; ++i) {
    Cell& cell = cell_of(region, i);
    if (kind == AccessKind::read && cell.writes.none()) {
      fail_access("shared", place, "read of uninitialised element " + std::to_string(i));
    }
    const Conflict conflict = record(cell, cross_, kind, thread_->progress, number);
    if (!conflict) continue;
    fail_access("shared", place, "element " + std::to_string(i) + ": " + conflict.text(kind, thread_->progress));
  }
}

Cell& Executor::cell_of(SharedRegion& region, int32_t i) {
  Cell& cell = region.cells[static_cast<std::size_t>(i)];
  if (cell.epoch != region.epoch) {
    cell = Cell{};
    cell.epoch = region.epoch;
  }
  return cell;
}

}  // namespace hashevict::simt
