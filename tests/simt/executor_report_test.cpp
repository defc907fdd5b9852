// SPDX-License-Identifier: Apache-2.0
// The executor itself: every planted fault is reported.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "expect_report.hpp"

namespace hashevict::simt {
namespace {

TEST(ExecutorReports, BarrierThatSomeThreadsDoNotReach) {
  expect_report(one_block(64, 0), {"left early", "block_sync", "executor_report_test.cpp"}, [] {
    if (thread_index() != 40) block_sync();
  });
}

TEST(ExecutorReports, BarriersAtDifferentPlaces) {
  expect_report(one_block(64, 0), {"divergent barrier", "lanes 0-9", "lanes 10-31", "warp 1"}, [] {
    if (thread_index() < 10) {
      block_sync();
    } else {
      block_sync();
    }
  });
}

TEST(ExecutorReports, DeadlockWithThePlaceOfEachFiber) {
  expect_report(one_block(64, 0),
                {"deadlock", "lanes 0-15 wait in ballot", "for lanes 0-31", "lanes 16-31 wait in block_sync"}, [] {
                  if (lane() < 16) ballot(kFullMask, true);
                  block_sync();
                });
}

TEST(ExecutorReports, LaneThatIsNotInItsMask) {
  expect_report(one_block(32, 0), {"not in the mask", "ballot", "lanes 0-15"}, [] { ballot(0xFFFFU, true); });
}

TEST(ExecutorReports, LaneThatLeftEarly) {
  expect_report(one_block(32, 0), {"left early", "any"}, [] {
    if (lane() == 9) return;
    any(kFullMask, true);
  });
}

TEST(ExecutorReports, MaskOfLanesThatTheBlockDoesNotHave) {
  expect_report(one_block(40, 0), {"wrong mask", "no lane 8"}, [] { all(kFullMask, true); });
}

TEST(ExecutorReports, DifferentCallsWithOneMask) {
  expect_report(one_block(32, 0), {"different calls", "warp_sync", "shuffle"}, [] {
    if (lane() % 2 == 0) {
      warp_sync(kFullMask);
    } else {
      shuffle(kFullMask, 1, 0);
    }
  });
}

TEST(ExecutorReports, DifferentMasks) {
  expect_report(one_block(32, 0), {"deadlock", "for lanes 0-31", "for lanes 0-16"},
                [] { ballot(lane() < 16 ? 0x1FFFFU : kFullMask, true); });
}

TEST(ExecutorReports, ShuffleFromALaneOutsideItsMask) {
  expect_report(one_block(32, 0), {"wrong mask", "reads lane 16"}, [] {
    if (lane() < 16) shuffle(0xFFFFU, lane(), lane() + 1);
  });
}

TEST(ExecutorReports, MissingBarrier) {
  expect_report(one_block(64, 0, shared_bytes<int32_t>(1)), {"shared memory", "executor_report_test.cpp"}, [] {
    const auto number = SharedMemory{}.take<int32_t>(1);
    if (thread_index() == 0) number.store(0, 7);
    number.load(0);
  });
}

TEST(ExecutorReports, MissingBarrierBeforeMemoryIsUsedAgain) {
  expect_report(one_block(64, 0, shared_bytes<int32_t>(64)), {"not ordered by a barrier"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(64);
    for (int32_t round = 0; round < 2; ++round) {
      numbers.store(thread_index(), round);
      block_sync();
      numbers.load(63 - thread_index());
    }
  });
}

TEST(ExecutorReports, VoteTakenForABarrier) {
  expect_report(one_block(32, 0, shared_bytes<int32_t>(32)), {"shared memory"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(32);
    numbers.store(lane(), lane());
    ballot(kFullMask, true);
    numbers.load(31 - lane());
  });
}

TEST(ExecutorReports, WarpBarrierTakenForTheBlocks) {
  expect_report(one_block(64, 0, shared_bytes<int32_t>(64)), {"shared memory"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(64);
    numbers.store(thread_index(), 1);
    warp_sync(kFullMask);
    numbers.load((thread_index() + 32) % 64);
  });
}

TEST(ExecutorReports, MissingBarrierOverGlobalMemory) {
  int32_t number = 0;
  expect_report(one_block(64, 0), {"global memory", "not ordered by a barrier"}, [&] {
    if (thread_index() == 33) store(&number, 1);
    load(&number);
  });
}

TEST(ExecutorReports, UninitialisedSharedMemory) {
  expect_report(one_block(32, 0, shared_bytes<int32_t>(32)), {"read of uninitialised element 31"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(32);
    if (lane() < 31) numbers.store(lane(), 1);
    block_sync();
    if (lane() == 4) numbers.load(31);
  });
}

TEST(ExecutorReports, CopiesThatNobodyWaitedFor) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16), {"ended before it waited for its copies"},
                [] { SharedMemory{}.take<float>(4).start_copy(0, from); });
}

TEST(ExecutorReports, CopiesOfNoGroupThatNobodyWaitedFor) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16), {"ended before it waited for its copies"}, [] {
    SharedMemory{}.take<float>(4).start_copy(0, from);
    wait_for_older_copies<0>();
  });
}

TEST(ExecutorReports, GroupsThatAWaitLeaves) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 32), {"ended before it waited for its copies"}, [] {
    const auto to = SharedMemory{}.take<float>(8);
    for (const int32_t i : {0, 4}) {
      to.start_copy(i, from);
      commit_copies();
    }
    wait_for_older_copies<1>();
  });
}

TEST(ExecutorReports, CopiesToWhatACopyFills) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16), {"copy to what a copy fills that nobody waited for"}, [] {
    const auto to = SharedMemory{}.take<float>(4);
    to.start_copy(0, from);
    commit_copies();
    to.start_copy(0, from);
  });
}

TEST(ExecutorReports, CopiesOverWhatNobodyHasRead) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16), {"copy over what a copy brought and nobody has read"}, [] {
    const auto to = SharedMemory{}.take<float>(4);
    to.start_copy(0, from);
    wait_for_copies();
    for (const int32_t i : {0, 1, 3}) to.load(i);
    to.start_copy(0, from);
  });
}

TEST(ExecutorReports, SourcesThatChangeBeforeTheWait) {
  alignas(16) float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16), {"the source of a copy changed"}, [&] {
    SharedMemory{}.take<float>(4).start_copy(0, from);
    store(from + 2, from[2] + 1.0F);
    wait_for_copies();
  });
}

TEST(ExecutorReports, SharedIndexOutOfRange) {
  const Launch launch = one_block(32, 0, 1024);
  expect_report(launch, {"element 32 out of range", "has 32"},
                [] { SharedMemory{}.take<int32_t>(32).store(lane() + 1, 1); });
  expect_report(launch, {"element -1 out of range"}, [] { SharedMemory{}.take<int32_t>(32).store(lane() - 1, 1); });
}

TEST(ExecutorReports, MoreSharedMemoryThanWasLaunched) {
  expect_report(one_block(32, 0, 128), {"takes 144 bytes", "gave 128"}, [] {
    SharedMemory memory;
    memory.take<int32_t>(32);
    memory.take<uint8_t>(1);
  });
}

TEST(ExecutorReports, ThreadsThatCarveDifferently) {
  expect_report(one_block(32, 0, 1024), {"takes another shared array"},
                [] { SharedMemory{}.take<int32_t>(lane() == 3 ? 8 : 9); });
}

TEST(ExecutorReports, MisalignedAccesses) {
  alignas(16) std::array<float, 8> numbers{};
  expect_report(one_block(1, 0), {"misaligned access of 16 bytes"}, [&] { load16(&numbers[1]); });
  expect_report(one_block(1, 0), {"misaligned access of 16 bytes"}, [&] { store16(&numbers[2], Bytes16{}); });
  expect_report(one_block(1, 0, 64), {"misaligned access of 8 bytes"}, [] {
    const auto shared = SharedMemory{}.take<float>(8);
    for (int32_t i = 0; i < 8; ++i) shared.store(i, 0.0F);
    float values[2];
    shared.load_many(3, values);
  });
}

TEST(ExecutorReports, WritesOfTwoBlocksToOneAddress) {
  for (const int32_t at_once : {1, 2}) {
    int32_t number = 0;
    expect_report({.grid_x = 2, .threads = 1, .blocks_at_once = at_once}, {"conflicts between blocks", "write"},
                  [&] { store(&number, block_x()); });
  }
}

TEST(ExecutorReports, ReadOfWhatAnotherBlockWrites) {
  std::array<int32_t, 2> numbers{};
  expect_report({.grid_x = 2, .threads = 1}, {"conflicts between blocks"}, [&] {
    const auto own = static_cast<std::size_t>(block_x());
    load(&numbers[1 - own]);
    store(&numbers[own], 1);
  });
}

TEST(ExecutorReports, PlainAccessBesideAtomicOnes) {
  uint32_t number = 0;
  expect_report({.grid_x = 2, .threads = 1}, {"conflicts between blocks", "atomic"}, [&] {
    if (block_x() == 0) {
      atomic_increment(&number, 5);
    } else {
      store(&number, 0U);
    }
  });
}

TEST(ExecutorReports, TicketsWithoutAFence) {
  for (const int32_t at_once : {1, 3}) {
    Ticket ticket;
    expect_report(ticket_launch(0, at_once), {"conflicts between blocks"}, [&] { ticket.take(false, true); });
    ticket = {};
    expect_report(ticket_launch(0, at_once), {"conflicts between blocks"}, [&] { ticket.take(true, false); });
  }
}

TEST(ExecutorReports, RelaxedAccessesThatNothingOrders) {
  int32_t number = 0;
  expect_report({.grid_x = 2, .threads = 1}, {"conflicts between blocks"}, [&] {
    if (block_x() == 0) {
      store_relaxed(&number, 1);
    } else {
      load_relaxed(&number);
    }
  });
}

TEST(ExecutorReports, WriteOfOneOfSeveralReadBytes) {
  alignas(4) std::array<uint8_t, 4> bytes{};
  expect_report({.grid_x = 2, .threads = 1}, {"conflicts between blocks"}, [&] {
    if (block_x() == 0) {
      load(reinterpret_cast<const uint32_t*>(bytes.data()));
    } else {
      store(&bytes[2], uint8_t{1});
    }
  });
}

TEST(ExecutorReports, WriteOfWhatWasLoadedAsAConstant) {
  int32_t number = 0;
  expect_report(one_block(1, 0), {"constant load", "write"}, [&] {
    load_constant(&number);
    store(&number, 1);
  });
  expect_report(one_block(32, 0), {"constant load", "write"}, [&] {
    if (lane() == 0) store(&number, 1);
    block_sync();
    load_constant(&number);
  });
}

TEST(ExecutorReports, LaunchBeforeThatIsNotWaitedFor) {
  Launch launch = one_block(32, 0);
  launch.chained = true;
  int32_t number = 0;
  run(launch, [&] {
    wait_for_launch_before();
    load(&number);
  });
  expect_report(launch, {"before the thread waited for the launch before"}, [&] {
    load(&number);
    wait_for_launch_before();
  });
  expect_report(launch, {"ended before it waited"}, [] {
    if (lane() != 7) wait_for_launch_before();
  });
}

TEST(ExecutorReports, ExceptionOfAKernel) {
  expect_report(one_block(32, 0), {"the kernel threw: no"}, [] {
    block_sync();
    if (lane() == 5) throw std::runtime_error{"no"};
    block_sync();
  });
}

TEST(ExecutorReports, LaunchThatNoDeviceCanDo) {
  EXPECT_THROW(run(one_block(1025, 0), [] {}), Report);
  EXPECT_THROW(run(one_block(32, 0, 228 * 1024), [] {}), Report);
}

TEST(ExecutorReports, StaticSharedMemoryBeyondTheLimit) {
  Launch launch = one_block(64, 0, 48 * 1024 - 16);
  launch.shared_limit = 48 * 1024;
  expect_report(launch, {"static shared memory", "49136", "49152"}, [] { block_max<64>(1); });
}

}  // namespace
}  // namespace hashevict::simt
