// SPDX-License-Identifier: Apache-2.0
// The executor's meetings of fibers, and its reports of missing ones.
#include <algorithm>
#include <array>
#include <map>

#include "simt/executor.hpp"
#include "simt/mma.hpp"

namespace hashevict::simt {
namespace {

const char* name_of(Meeting meeting) {
  constexpr std::array kNames{"block_sync", "block_max", "warp_sync", "ballot", "any",          "all",
                              "shuffle",    "warp_max",  "warp_sum",  "mma",    "cluster_wait", "mbarrier_wait"};
  return kNames[static_cast<std::size_t>(meeting)];
}

bool is_block_wide(Meeting meeting) {
  return meeting <= Meeting::block_max;
}

std::string text_of_meeting(Meeting meeting, uint32_t mask, const Place& place) {
  std::string text = std::string{name_of(meeting)} + " at " + text_of(place);
  if (!is_block_wide(meeting) && meeting < Meeting::cluster_wait) text += " for lanes " + text_of_lanes(mask);
  return text;
}

}  // namespace

/// Calls `visitor(thread, lane)` for the lanes of a meeting.
template <class Visitor>
void Executor::for_lanes(const Thread& arrived, const Visitor& visitor) {
  const uint32_t mask = arrived.mask;
  for (int32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) != 0) visitor(lane_of_warp(arrived, lane), static_cast<std::size_t>(lane));
  }
}

void Executor::fail(const std::string& message) const {
  fault_ = header() + message;
  throw Cancelled{};
}

std::string Executor::text_of_thread() const {
  const Progress& at = thread_->progress;
  return "block " + std::to_string(at.block) + ", warp " + std::to_string(at.warp()) + ", lane " +
         std::to_string(at.lane());
}

/// Lists the waiting threads and their meetings, warp by warp.
std::string Executor::text_of_waiting(const Block& block) const {
  std::map<std::pair<int32_t, std::string>, uint32_t> groups;
  for (const auto& thread : block.threads) {
    const std::string at = thread->state == State::done ? "have ended"
                           : thread->state == State::waiting
                               ? "wait in " + text_of_meeting(thread->meeting, thread->mask, thread->place)
                               : "are on their way";
    groups[{thread->progress.warp(), at}] |= 1U << thread->progress.lane();
  }
  std::string text;
  for (const auto& [group, lanes] : groups) {
    text += "\n  block " + std::to_string(block.index) + ", warp " + std::to_string(group.first) + ", lanes " +
            text_of_lanes(lanes) + " " + group.second;
  }
  return text;
}

void Executor::fail_deadlock() {
  std::string text = "deadlock, nobody can go on:";
  for (const auto& block : alive_) text += text_of_waiting(*block);
  fail(text);
}

/// Reports a thread that ends although others wait for it.
void Executor::check_nobody_misses(const Thread& gone) const {
  for (const auto& other : gone.block->threads) {
    if (other->state != State::waiting) continue;
    const bool in_warp = other->progress.warp() == gone.progress.warp();
    const bool named = (other->mask >> gone.progress.lane() & 1U) != 0;
    if (is_block_wide(other->meeting) || (in_warp && named)) {
      fail(text_of_thread() + " left early, others wait for it:" + text_of_waiting(*gone.block));
    }
  }
}

void Executor::try_block_meeting() {
  Block& block = *thread_->block;
  if (block.num_done > 0) fail("threads left early, others wait for them:" + text_of_waiting(block));
  if (++block.num_at_barrier < launch_.threads) return;
  for (const auto& other : block.threads) {
    const bool same_line = other->place.line == thread_->place.line;
    const bool same_file = other->place.file == thread_->place.file || text_of(other->place) == text_of(thread_->place);
    if (other->meeting != thread_->meeting || !same_line || !same_file) {
      fail("divergent barrier:" + text_of_waiting(block));
    }
  }
  complete_block_meeting(block);
}

void Executor::complete_block_meeting(Block& block) {
  uint64_t largest = 0;
  for (const auto& thread : block.threads) largest = std::max(largest, thread->value);
  block.num_at_barrier = 0;
  uint32_t barriers = 0;
  for (const auto& thread : block.threads) barriers = std::max(barriers, thread->progress.barriers);
  if (block.num_barriers > 0) order_block(block);
  for (const auto& thread : block.threads) {
    thread->value = largest;
    thread->progress.barriers = thread->progress.known = barriers + 1;
    wake(*thread);
    if (!block.told) continue;
    block.clock.learn(thread->progress.own_clock);
    thread->progress.own_clock.clear();
  }
  block.told = false;
}

/// Checks that the warp can meet with this thread's mask.
void Executor::check_mask(const Thread& thread) const {
  const uint32_t mask = thread.mask;
  const auto what = [&] { return text_of_meeting(thread.meeting, mask, thread.place); };
  if ((mask >> thread.progress.lane() & 1U) == 0) fail(text_of_thread() + " is not in the mask of its " + what());
  const bool all_exist = thread.progress.warp() * 32 + 32 <= launch_.threads;
  if (all_exist && thread.block->num_done == 0) return;
  for (int32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) == 0) continue;
    if (!has_lane(thread, lane)) {
      fail(text_of_thread() + ", wrong mask: the warp has no lane " + std::to_string(lane) + " for " + what());
    }
    if (lane_of_warp(thread, lane).state == State::done) {
      fail(text_of_thread() + ", lane " + std::to_string(lane) + " left early, it is missed in " + what());
    }
  }
}

void Executor::try_warp_meeting() {
  Thread& thread = *thread_;
  check_mask(thread);
  uint32_t& waiting = thread.block->waiting[static_cast<std::size_t>(thread.progress.warp())];
  waiting |= 1U << thread.progress.lane();
  if ((waiting & thread.mask) != thread.mask) return;  // at worst, a deadlock is reported once no thread can go on
  bool same_mask = true;
  bool same_call = true;
  for_lanes(thread, [&](const Thread& other, std::size_t /*lane*/) {
    same_mask = same_mask && other.mask == thread.mask;
    same_call = same_call && other.meeting == thread.meeting;
  });
  if (!same_mask) return;
  if (!same_call) fail("lanes meet in different calls, or with a wrong mask:" + text_of_waiting(*thread.block));
  waiting &= ~thread.mask;
  complete_warp_meeting(thread);
}

/// Orders all earlier accesses of the lanes of a warp_sync() before their later ones.
void Executor::order_warp(Thread& arrived) {
  std::array<uint32_t, 32> clock{};
  for_lanes(arrived, [&](Thread& thread, std::size_t lane) {
    ++thread.progress.warp_clock[lane];
    for (std::size_t i = 0; i < 32; ++i) clock[i] = std::max(clock[i], thread.progress.warp_clock[i]);
  });
  for_lanes(arrived, [&](Thread& thread, std::size_t /*lane*/) { thread.progress.warp_clock = clock; });
  if (arrived.block->num_barriers == 0) return;
  std::vector<uint64_t> known;
  for_lanes(arrived, [&](Thread& thread, std::size_t /*lane*/) {
    note_time(thread);
    learn(known, thread.known_times);
  });
  for_lanes(arrived, [&](Thread& thread, std::size_t /*lane*/) { thread.known_times = known; });
}

void Executor::complete_warp_meeting(Thread& arrived) {
  if (arrived.meeting == Meeting::warp_sync) order_warp(arrived);
  std::array<uint64_t, 32> brought{};
  uint64_t votes = 0;
  uint64_t largest = 0;
  uint64_t sum = 0;
  for_lanes(arrived, [&](Thread& thread, std::size_t lane) {
    brought[lane] = thread.value;
    if (thread.value != 0) votes |= uint64_t{1} << lane;
    largest = std::max(largest, thread.value);
    sum += thread.value;
  });
  if (arrived.meeting == Meeting::mma) {
    std::array<MmaOperands, 32> operands{};
    for (std::size_t lane = 0; lane < 32; ++lane) operands[lane] = *reinterpret_cast<MmaOperands*>(brought[lane]);
    multiply_tiles(operands);
  }
  for_lanes(arrived, [&](Thread& thread, std::size_t lane) {
    switch (thread.meeting) {
      case Meeting::ballot:
        thread.value = votes;
        break;
      case Meeting::any:
        thread.value = votes != 0 ? 1 : 0;
        break;
      case Meeting::all:
        thread.value = votes == thread.mask ? 1 : 0;
        break;
      case Meeting::warp_max:
        thread.value = largest;
        break;
      case Meeting::warp_sum:
        thread.value = sum;
        break;
      case Meeting::shuffle:
        check_source(thread, lane);
        thread.value = brought[static_cast<std::size_t>(thread.source_lane)];
        break;
      default:
        break;
    }
    wake(thread);
  });
}

void Executor::check_source(const Thread& thread, std::size_t lane) const {
  const int32_t source = thread.source_lane;
  if (source >= 0 && source < 32 && (thread.mask >> source & 1U) != 0) return;
  fail("block " + std::to_string(thread.progress.block) + ", wrong mask: lane " + std::to_string(lane) +
       " reads lane " + std::to_string(source) + ", which has no part in its " +
       text_of_meeting(thread.meeting, thread.mask, thread.place));
}

}  // namespace hashevict::simt
