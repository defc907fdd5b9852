// SPDX-License-Identifier: Apache-2.0
// The kernels that the tests of clusters and bulk copies launch.
#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include "executor_launches.hpp"
#include "kernels/detail/cluster.cuh"

namespace hashevict::simt {

inline Launch cluster_launch(uint64_t seed, int32_t cluster, int32_t shared, int32_t clusters = 2) {
  Launch launch = one_block(64, seed, shared);
  launch.grid_x = cluster * clusters;
  launch.cluster = cluster;
  return launch;
}

/// Two rounds in which each block pushes four numbers to all blocks of its cluster, which add up the first and the last
/// of them. Each step may be left out, or done wrongly.
struct Exchange {
  static constexpr int32_t kRounds = 2;
  static constexpr int32_t kEach = 4;  // numbers of a push
  static constexpr int32_t kBytes = kEach * 4;
  static int32_t shared(int32_t cluster) { return shared_bytes<int32_t>(cluster * kEach) + Mbarriers::bytes(1); }
  static int32_t number(int32_t block, int32_t round, int32_t i) { return 100 * block + 10 * round + i + 1; }

  bool starts = true;         ///< a barrier of the cluster behind the initialisation of the mbarriers
  bool arrives = true;        ///< every block at every other
  bool waits = true;          ///< for the numbers of a round
  bool covers = true;         ///< that wait covers other blocks
  bool ends = true;           ///< a barrier of the cluster between the rounds
  uint32_t wrong_phase = 0;   ///< 1: of that wait
  int32_t missing_bytes = 0;  ///< that nobody expects
  std::vector<int32_t> sums{};

  void run_block() {
    SharedMemory memory;
    const auto numbers = memory.take<int32_t>(cluster_size() * kEach);
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) barriers.init(0, cluster_size());
    block_sync();
    if (starts) sync();
    int32_t sum = 0;
    for (int32_t round = 0; round < kRounds; ++round) {
      const int32_t rank = thread_index() - 32;  // warp 1
      if (rank >= 0 && rank < cluster_size()) {
        int32_t all[kEach];
        for (int32_t i = 0; i < kEach; ++i) all[i] = number(block_x(), round, i);
        push(numbers, rank, cluster_rank() * kEach, all, barriers, 0);
        if (arrives || cluster_rank() != 1) barriers.arrive_at(rank, 0, kBytes - missing_bytes);
      }
      const auto parity = static_cast<uint32_t>(round) ^ wrong_phase;
      if (waits && covers) barriers.wait_for_cluster(0, parity);
      if (waits && !covers) barriers.wait(0, parity);
      if (thread_index() == 5) {
        for (int32_t i = 0; i < cluster_size(); ++i) sum += numbers.load(i * kEach) + numbers.load(i * kEach + 3);
      }
      if (ends && round + 1 < kRounds) sync();
    }
    if (thread_index() == 5 && !sums.empty()) sums[static_cast<std::size_t>(block_x())] = sum;
  }
  static void sync() {
    cluster_arrive();
    cluster_wait();
  }
};

/// Four stages of a block, through a ring of two. Each step may be left out, or done wrongly.
struct Ring {
  static constexpr int32_t kStages = 4;
  static constexpr int32_t kEntries = 2;
  static constexpr int32_t kEach = 8;  // numbers of a stage, the first half for either warp
  static constexpr int32_t kBytes = kEach * 4;
  static constexpr int32_t kShared = shared_bytes<int32_t>(kEntries * kEach) + Mbarriers::bytes(2 * kEntries);

  alignas(16) std::array<int32_t, kStages * kEach> numbers{};
  bool waits = true;              ///< readers for a stage
  bool arrives = true;            ///< warp 1, once it has read a stage
  bool waits_for_readers = true;  ///< the thread that starts copies
  uint32_t wrong_phase = 0;       ///< 1: of the readers
  int32_t missing_bytes = 0;      ///< that nobody expects
  std::array<int32_t, 2> sums{};

  Ring() { std::iota(numbers.begin(), numbers.end(), 1); }

  void start(const SharedArray<int32_t>& ring, const Mbarriers& barriers, int32_t stage) const {
    const int32_t entry = stage % kEntries;
    const auto reuse = static_cast<uint32_t>(stage / kEntries);
    if (reuse > 0 && waits_for_readers) barriers.wait(kEntries + entry, (reuse - 1) % 2);
    barriers.arrive_and_expect(entry, kBytes - missing_bytes);
    for (int32_t half = 0; half < 2; ++half) {
      start_bulk_copy(ring, entry * kEach + half * kEach / 2,
                      &numbers[static_cast<std::size_t>(stage * kEach + half * 4)], kBytes / 2, barriers, entry);
    }
  }

  void run_block() {
    SharedMemory memory;
    const auto ring = memory.take<int32_t>(kEntries * kEach);
    const Mbarriers barriers{memory, 2 * kEntries};
    if (thread_index() == 0) {
      for (int32_t i = 0; i < kEntries; ++i) {
        barriers.init(i, 1);
        barriers.init(kEntries + i, 2);
      }
    }
    block_sync();
    int32_t sum = 0;
    for (int32_t stage = 0; stage < kStages; ++stage) {
      if (thread_index() == 0) {
        if (stage == 0) start(ring, barriers, 0);
        if (stage + 1 < kStages) start(ring, barriers, stage + 1);
      }
      const int32_t entry = stage % kEntries;
      if (waits) barriers.wait(entry, static_cast<uint32_t>(stage / kEntries) % 2 ^ wrong_phase);
      if (lane() < kEach / 2) sum += ring.load(entry * kEach + warp() * kEach / 2 + lane());
      warp_sync(kFullMask);
      if (lane() == 0 && (arrives || warp() == 0)) barriers.arrive(kEntries + entry);
    }
    for (int32_t i = 1; i < kEach / 2; ++i) {
      const int32_t other = shuffle(kFullMask, sum, i);
      if (lane() == 0) sum += other;
    }
    if (lane() == 0) sums[static_cast<std::size_t>(warp())] = sum;
  }
};

}  // namespace hashevict::simt
