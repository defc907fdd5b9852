// SPDX-License-Identifier: Apache-2.0
// The executor's clusters of blocks, mbarriers and bulk copies.
#include <algorithm>
#include <cstring>

#include "simt/executor.hpp"

namespace hashevict::simt {

void Executor::arrive_at_cluster() {
  maybe_yield();
  Thread& thread = *thread_;
  Cluster& cluster = *thread.block->cluster;
  if (thread.has_arrived) fail(text_of_thread() + " arrives at the cluster's barrier again before it waits there");
  Cluster::Phase& phase = cluster.phases[thread.phases % 2];
  if (cluster.num_arrived == 0) phase = {std::vector<uint32_t>(cluster.blocks.size(), UINT32_MAX), {}};
  const auto rank = static_cast<std::size_t>(thread.progress.block % launch_.cluster);
  phase.barriers[rank] = std::min(phase.barriers[rank], thread.progress.barriers + 1);
  phase.clock.learn(thread.block->clock);
  phase.clock.learn(thread.progress.own_clock);
  thread.has_arrived = true;
  ++thread.progress.barriers;
  if (++cluster.num_arrived == cluster.num_live) complete_cluster_phase(cluster);
}

void Executor::complete_cluster_phase(Cluster& cluster) {
  cluster.num_arrived = 0;
  ++cluster.phase;
  for (Block* const block : cluster.blocks) {
    if (block == nullptr) continue;
    for (const auto& thread : block->threads) {
      if (thread->state == State::waiting && thread->meeting == Meeting::cluster_wait) wake(*thread);
    }
  }
}

void Executor::wait_for_cluster(Place place) {
  Thread& thread = *thread_;
  Cluster& cluster = *thread.block->cluster;
  if (!thread.has_arrived) fail(text_of_thread() + " waits at the cluster's barrier before it arrives there");
  if (cluster.phase == thread.phases) {
    thread.meeting = Meeting::cluster_wait;
    thread.mask = 0;
    thread.place = place;
    thread.state = State::waiting;
    thread.fiber->suspend();
    if (cancelled_) throw Cancelled{};
  }
  const Cluster::Phase& phase = cluster.phases[thread.phases % 2];
  const int32_t first = thread.progress.block / launch_.cluster * launch_.cluster;
  for (std::size_t rank = 0; rank < cluster.blocks.size(); ++rank) {
    if (phase.barriers[rank] == UINT32_MAX) continue;  // all of its threads had ended
    const int32_t block = first + static_cast<int32_t>(rank);
    if (block == thread.progress.block) {
      thread.progress.known = std::max(thread.progress.known, phase.barriers[rank]);
    } else {
      thread.progress.own_clock.learn(block, phase.barriers[rank]);
    }
  }
  thread.progress.own_clock.learn(phase.clock);
  thread.block->told = true;
  thread.has_arrived = false;
  ++thread.phases;
}

/// Counts a thread that has ended as arrived. Its block must not end before all has landed that others push to it.
void Executor::leave_cluster(Thread& thread) {
  Block& block = *thread.block;
  Cluster& cluster = *block.cluster;
  if (thread.has_arrived) fail(text_of_thread() + " ended before it waited at the cluster's barrier");
  if (block_ended_ && block.num_flying > 0) fail(text_of_thread() + " ended before the block's bulk copies landed");
  if (block_ended_) check_pushes(block);
  --cluster.num_live;
  if (cluster.num_arrived > 0 && cluster.num_arrived == cluster.num_live) complete_cluster_phase(cluster);
}

/// Some thread of a block must have waited for each push to it, or the block might end before the push lands.
void Executor::check_pushes(const Block& block) const {
  for (std::size_t i = 0; i < block.num_shared; ++i) {
    for (const auto& [first, target] : block.shared[i]->targets) {
      const auto knows = [&, &pushed = target](const auto& thread) {
        return knows_phase(*thread, *pushed.barrier, pushed.phase);
      };
      if (!target.is_pushed || std::any_of(block.threads.begin(), block.threads.end(), knows)) continue;
      fail("block " + std::to_string(block.index) + " ended before it waited for the push at " + text_of(target.place));
    }
  }
}

Executor::Block& Executor::block_of_cluster(int32_t rank, Place place) const {
  const Thread& thread = *thread_;
  const auto size = static_cast<int32_t>(thread.block->cluster->blocks.size());
  if (rank < 0 || rank >= size) {
    fail_access("remote shared", place,
                "rank " + std::to_string(rank) + ", but the cluster has " + std::to_string(size) + " blocks");
  }
  const int32_t index = thread.progress.block / size * size + rank;
  Block* const target = thread.block->cluster->blocks[static_cast<std::size_t>(rank)];
  if (target == nullptr || target->num_done == launch_.threads) {
    fail_access("remote shared", place, "block " + std::to_string(index) + " has ended");
  }
  if (target != thread.block && !thread.progress.knows(index, 0)) {
    fail_access("remote shared", place, "no barrier of the cluster says that block " + std::to_string(index) + " runs");
  }
  return *target;
}

/// The array of a block that corresponds to `own`, which the calling block has taken.
SharedRegion& Executor::region_of(Block& block, const SharedRegion& own, Place place) const {
  if (own.index >= block.num_shared || block.shared[own.index]->count != own.count ||
      block.shared[own.index]->element_bytes != own.element_bytes) {
    fail_access("remote shared", place, "block " + std::to_string(block.index) + " has no such array");
  }
  return *block.shared[own.index];
}

Mbarrier& Executor::remote_barrier(Block& block, const SharedRegion& own_barriers, int32_t i, Place place) {
  SharedRegion& region = region_of(block, own_barriers, place);
  check_range(region, i, 1, place);
  record_shared(region, i, 1, AccessKind::read, place);  // behind the initialisation, as this thread knows
  Mbarrier& barrier = region.barriers[static_cast<std::size_t>(i)];
  barrier.is_remote = true;
  return barrier;
}

void Executor::arrive_at(const SharedRegion& own_barriers, int32_t rank, int32_t i, int64_t bytes, Place place) {
  maybe_yield();
  Block& block = block_of_cluster(rank, place);
  Mbarrier& barrier = remote_barrier(block, own_barriers, i, place);
  check_arrival(barrier, i, place);
  barrier.fenced.learn(thread_->progress.block, thread_->fenced);
  barrier.bytes += bytes;
  --barrier.pending;
  try_complete(block, barrier);
}

void Executor::push(const SharedRegion& own, int32_t rank, int32_t first, const void* bytes,
                    const SharedRegion& own_barriers, int32_t barrier, Place place) {
  maybe_yield();
  Block& block = block_of_cluster(rank, place);
  SharedRegion& region = region_of(block, own, place);
  const auto count = kCopiedBytes / static_cast<int32_t>(region.element_bytes);
  check_range(region, first, count, place);
  Mbarrier& completes = remote_barrier(block, own_barriers, barrier, place);
  const auto old = region.targets.find(first);
  if (old != region.targets.end() && !old->second.landed) {
    fail_access("remote shared", place,
                "push over elements whose push at " + text_of(old->second.place) + " may not have landed");
  }
  for (int32_t i = first; i < first + count; ++i) {
    const Conflict conflict = conflict_of(cell_of(region, i), cross_, AccessKind::write, thread_->progress);
    if (conflict) fail_access("remote shared", place, conflict.text(AccessKind::write, thread_->progress));
  }
  BulkTarget& target = region.targets[first];
  target = {};
  target.count = count;
  target.is_pushed = true;
  std::memcpy(target.pushed.data(), bytes, target.pushed.size());
  target.from = target.pushed.data();
  target.barrier = &completes;
  target.phase = completes.phase;
  target.place = place;
  fill_randomly(region, first, kCopiedBytes);
  flying_.push_back({&block, &region, first});
  ++block.num_flying;
}

void Executor::learn(std::vector<uint64_t>& known, const std::vector<uint64_t>& other) {
  if (known.size() < other.size()) known.resize(other.size(), 0);
  for (std::size_t i = 0; i < other.size(); ++i) known[i] = std::max(known[i], other[i]);
}

void Executor::note_time(Thread& thread) {
  thread.known_times.resize(static_cast<std::size_t>(launch_.threads), 0);
  thread.known_times[static_cast<std::size_t>(thread.progress.thread)] = ++time_;
}

uint64_t Executor::known_time(const Thread& thread, std::size_t other) const {
  if (other == static_cast<std::size_t>(thread.progress.thread)) return time_;
  const uint64_t own = other < thread.known_times.size() ? thread.known_times[other] : 0;
  return std::max(own, thread.block->known_time);
}

bool Executor::knows_phase(const Thread& thread, const Mbarrier& barrier, uint32_t phase) {
  const auto waited = [&](const std::vector<uint32_t>& phases) {
    return barrier.number < phases.size() && phase < phases[barrier.number];
  };
  return waited(thread.waited) || waited(thread.block->waited);
}

/// A barrier of the block passes what each thread knows to all of them.
void Executor::order_block(Block& block) {
  block.known_time = ++time_;
  block.waited.resize(block.num_barriers, 0);
  for (const auto& thread : block.threads) {
    for (std::size_t i = 0; i < thread->waited.size(); ++i) {
      block.waited[i] = std::max(block.waited[i], thread->waited[i]);
    }
  }
}

void Executor::init_barrier(SharedRegion& region, int32_t i, uint32_t count, Place place) {
  access_shared(region, i, 1, AccessKind::write, place);
  region.barriers.resize(region.count);
  Mbarrier& barrier = region.barriers[static_cast<std::size_t>(i)];
  if (barrier.count != 0) fail_access("shared", place, "mbarrier " + std::to_string(i) + " is initialised twice");
  barrier = {};
  barrier.count = barrier.pending = count;
  barrier.number = thread_->block->num_barriers++;
}

Mbarrier& Executor::barrier_at(SharedRegion& region, int32_t i, Place place) {
  access_shared(region, i, 1, AccessKind::read, place);  // behind the initialisation
  return region.barriers[static_cast<std::size_t>(i)];
}

void Executor::check_arrival(const Mbarrier& barrier, int32_t i, Place place) const {
  if (barrier.pending > 0) return;
  fail_access(
      "shared", place,
      "more than " + std::to_string(barrier.count) + " arrivals at mbarrier " + std::to_string(i) + " in one phase");
}

void Executor::arrive(SharedRegion& region, int32_t i, int64_t bytes, Place place) {
  maybe_yield();
  Mbarrier& barrier = barrier_at(region, i, place);
  check_arrival(barrier, i, place);
  note_time(*thread_);
  learn(barrier.arriving, thread_->known_times);
  barrier.bytes += bytes;
  --barrier.pending;
  try_complete(*thread_->block, barrier);
}

void Executor::try_complete(Block& block, Mbarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.count;
  barrier.completed = barrier.arriving;
  barrier.completed_fences = barrier.fenced;
  ++barrier.phase;
  for (const auto& thread : block.threads) {
    const bool waits = thread->state == State::waiting && thread->meeting == Meeting::mbarrier_wait;
    if (waits && thread->barrier == &barrier) wake(*thread);
  }
}

void Executor::wait_for_phase(SharedRegion& region, int32_t i, uint32_t parity, bool of_cluster, Place place) {
  maybe_yield();
  Thread& thread = *thread_;
  Mbarrier& barrier = barrier_at(region, i, place);
  while (barrier.phase % 2 == parity) {
    thread.meeting = Meeting::mbarrier_wait;
    thread.mask = 0;
    thread.place = place;
    thread.barrier = &barrier;
    thread.state = State::waiting;
    thread.fiber->suspend();
    if (cancelled_) throw Cancelled{};
  }
  if (barrier.is_remote && !of_cluster) {
    fail_access("shared", place, "the wait covers the own block alone, but other blocks arrive at the mbarrier");
  }
  if (of_cluster) {
    thread.progress.own_clock.learn(barrier.completed_fences);
    thread.block->told = true;
  }
  learn(thread.known_times, barrier.completed);
  if (thread.waited.size() <= barrier.number) thread.waited.resize(barrier.number + 1, 0);
  thread.waited[barrier.number] = barrier.phase;
}

void Executor::start_bulk_copy(SharedRegion& region, int32_t first, const void* from, int32_t bytes,
                               SharedRegion& barriers, int32_t barrier, Place place) {
  const auto element = static_cast<int32_t>(region.element_bytes);
  const int32_t count = bytes / element;
  if (bytes <= 0 || bytes % kCopiedBytes != 0 || first * element % kCopiedBytes != 0) {
    fail_access("shared", place, "misaligned bulk copy of " + std::to_string(bytes) + " bytes");
  }
  check_range(region, first, 1, place);
  check_range(region, first + count - 1, 1, place);
  access_global(from, static_cast<std::size_t>(bytes), kCopiedBytes, AccessKind::read, place);
  retire_targets(region, first, count, place);
  Mbarrier& completes = barrier_at(barriers, barrier, place);
  BulkTarget target;
  target.count = count;
  target.from = static_cast<const unsigned char*>(from);
  target.barrier = &completes;
  target.phase = completes.phase;
  target.thread = thread_->progress.thread;
  target.place = place;
  target.last_reads.resize(static_cast<std::size_t>(launch_.threads), 0);
  fill_randomly(region, first, bytes);
  region.targets[first] = std::move(target);
  flying_.push_back({thread_->block, &region, first});
  ++thread_->block->num_flying;
}

void Executor::fill_randomly(SharedRegion& region, int32_t first, int32_t bytes) {
  unsigned char* const to = region.bytes.data() + static_cast<std::size_t>(first) * region.element_bytes;
  for (int32_t i = 0; i < bytes; i += 8) {
    const uint64_t word = random_();
    std::memcpy(to + i, &word, sizeof word);
  }
}

/// Removes the targets that a new copy overwrites: they have landed, and nobody reads them any more.
void Executor::retire_targets(SharedRegion& region, int32_t first, int32_t count, Place place) {
  auto at = region.targets.lower_bound(first);
  if (at != region.targets.begin() && std::prev(at)->first + std::prev(at)->second.count > first) --at;
  while (at != region.targets.end() && at->first < first + count) {
    const BulkTarget& old = at->second;
    if (!old.landed || !knows_phase(*thread_, *old.barrier, old.phase)) {
      fail_access("shared", place, "copy over elements whose copy at " + text_of(old.place) + " may not have landed");
    }
    for (std::size_t t = 0; t < old.last_reads.size(); ++t) {
      if (old.last_reads[t] <= known_time(*thread_, t)) continue;
      fail_access("shared", place, "copy over elements that thread " + std::to_string(t) + " may still read");
    }
    at = region.targets.erase(at);
  }
}

void Executor::read_bulk(SharedRegion& region, int32_t first, int32_t count, Place place) {
  for (int32_t i = first; i < first + count;) {
    const auto behind = region.targets.upper_bound(i);
    const auto at = behind == region.targets.begin() ? region.targets.end() : std::prev(behind);
    if (at == region.targets.end() || at->first + at->second.count <= i) {
      fail_access("shared", place, "read of uninitialised element " + std::to_string(i));
    }
    BulkTarget& target = at->second;
    if (!target.landed || !knows_phase(*thread_, *target.barrier, target.phase)) {
      fail_access("shared", place,
                  "read of element " + std::to_string(i) + " before its copy at " + text_of(target.place) +
                      " has landed and the thread waited for it");
    }
    const int32_t end = at->first + target.count;
    if (target.is_pushed) {  // by another block, for which cells tell who reads
      record_reads(region, i, std::min(end, first + count), place);
    } else {
      target.last_reads[static_cast<std::size_t>(thread_->progress.thread)] = ++time_;
    }
    i = end;
  }
}

void Executor::record_reads(SharedRegion& region, int32_t first, int32_t end, Place place) {
  for (int32_t i = first; i < end; ++i) {
    record(cell_of(region, i), cross_, AccessKind::read, thread_->progress, number_of(place));
  }
}

/// Copies and pushes land at any time, and at the latest when nothing else can happen.
bool Executor::may_land() {
  constexpr uint32_t kOneIn = 24;
  return !flying_.empty() && (ready_.empty() || random_.below(kOneIn) == 0);
}

void Executor::land(std::size_t flying) {
  const Flying copy = flying_[flying];
  flying_[flying] = flying_.back();
  flying_.pop_back();
  BulkTarget& target = copy.region->targets.at(copy.first);
  const std::size_t bytes = static_cast<std::size_t>(target.count) * copy.region->element_bytes;
  if (!target.is_pushed) {  // until now the source had to stay as it was
    thread_ = copy.block->threads[static_cast<std::size_t>(target.thread)].get();
    const Conflict conflict = global_->record(target.from, bytes, AccessKind::read, thread_->progress, target.place);
    if (conflict) fail_access("global", target.place, conflict.text(AccessKind::read, thread_->progress));
  }
  std::memcpy(copy.region->bytes.data() + static_cast<std::size_t>(copy.first) * copy.region->element_bytes,
              target.from, bytes);
  target.landed = true;
  target.barrier->bytes -= static_cast<int64_t>(bytes);
  --copy.block->num_flying;
  try_complete(*copy.block, *target.barrier);
  thread_ = nullptr;
}

}  // namespace hashevict::simt
