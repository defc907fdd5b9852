// SPDX-License-Identifier: Apache-2.0
// The kernels that the executor's tests launch.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/detail/simt.cuh"

namespace hashevict::simt {

inline constexpr uint64_t kSeeds = 8;

inline Launch one_block(int32_t threads, uint64_t seed, int32_t shared = 0) {
  Launch launch;
  launch.threads = threads;
  launch.seed = seed;
  launch.shared_bytes = shared;
  return launch;
}

/// Blocks leave numbers for the last block, with or without the two fences of a ticket.
struct Ticket {
  std::array<int32_t, 4> numbers{};
  uint32_t taken = 0;
  int32_t sum = 0;

  void take(bool fence_before, bool fence_after) {
    const auto is_last = SharedMemory{}.take<int32_t>(1);
    if (thread_index() == 33) store(&numbers[static_cast<std::size_t>(block_x())], block_x() + 1);
    block_sync();
    if (thread_index() == 0) {
      if (fence_before) thread_fence();
      const uint32_t before = atomic_increment(&taken, 3);
      if (fence_after) thread_fence();
      is_last.store(0, before == 3 ? 1 : 0);
    }
    block_sync();
    if (is_last.load(0) == 0 || thread_index() != 40) return;
    for (int32_t& number : numbers) {
      sum += load(&number);
      store(&number, 0);
    }
  }
};

inline Launch ticket_launch(uint64_t seed, int32_t at_once) {
  return {
      .grid_x = 4, .threads = 64, .shared_bytes = shared_bytes<int32_t>(1), .seed = seed, .blocks_at_once = at_once};
}

}  // namespace hashevict::simt
