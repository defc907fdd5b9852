// SPDX-License-Identifier: Apache-2.0
// Clusters, mbarriers and bulk copies on the executor: every planted fault is reported.
#include "cluster_launches.hpp"
#include "expect_report.hpp"

namespace hashevict::simt {
namespace {

void expect_report_of(Exchange exchange, const std::string& word) {
  for (const int32_t at_once : {1, 6}) {
    Launch launch = cluster_launch(0, 2, Exchange::shared(2));
    launch.blocks_at_once = at_once;
    expect_report(launch, {word}, [&] { exchange.run_block(); });
  }
}

TEST(ClusterReports, PushBeforeTheOtherBlockIsKnownToRun) {
  expect_report_of({.starts = false}, "no barrier of the cluster says that block");
}

TEST(ClusterReports, PushBeforeTheReceiversMbarrierIsInitialised) {
  expect_report(cluster_launch(0, 2, 16 + Mbarriers::bytes(1)), {"shared memory", "uninitialised"}, [] {
    SharedMemory memory;
    const auto numbers = memory.take<int32_t>(4);
    const Mbarriers barriers{memory, 1};
    Exchange::sync();
    if (thread_index() == 0) push(numbers, 1 - cluster_rank(), 0, {1, 2, 3, 4}, barriers, 0);
    block_sync();
  });
}

TEST(ClusterReports, InitialisationThatIsNotOrderedBeforeThePush) {
  expect_report(cluster_launch(0, 2, 16 + Mbarriers::bytes(1)), {"shared memory"}, [] {
    SharedMemory memory;
    const auto numbers = memory.take<int32_t>(4);
    const Mbarriers barriers{memory, 1};
    Exchange::sync();
    if (thread_index() == 0) barriers.init(0, 2);
    block_sync();
    if (thread_index() == 0) push(numbers, 1 - cluster_rank(), 0, {1, 2, 3, 4}, barriers, 0);
    Exchange::sync();
  });
}

TEST(ClusterReports, BytesThatNobodyExpects) {
  expect_report_of({.missing_bytes = 16}, "seed");  // reads of what has not landed, or a phase that never completes
}

TEST(ClusterReports, BytesThatNobodyPushes) {
  expect_report_of({.missing_bytes = -16}, "wait in mbarrier_wait");
}

TEST(ClusterReports, SenderThatDoesNotArrive) {
  expect_report_of({.arrives = false}, "wait in mbarrier_wait");
}

TEST(ClusterReports, ReadBeforeThePushHasLanded) {
  expect_report_of({.waits = false}, "read of");
}

TEST(ClusterReports, WrongPhaseOfAnExchange) {
  expect_report_of({.wrong_phase = 1}, "seed");  // early reads, or a wait that never ends
}

TEST(ClusterReports, WaitThatDoesNotCoverOtherBlocks) {
  expect_report_of({.covers = false}, "the wait covers the own block alone");
}

TEST(ClusterReports, PushOverWhatTheReceiverMayStillRead) {
  expect_report_of({.ends = false}, "shared memory");
}

TEST(ClusterReports, BlockThatEndsWhilePushesFly) {
  expect_report(cluster_launch(0, 2, 16 + Mbarriers::bytes(1)), {"ended"}, [] {
    SharedMemory memory;
    const auto numbers = memory.take<int32_t>(4);
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) barriers.init(0, 2);
    Exchange::sync();
    if (thread_index() == 0) push(numbers, 1 - cluster_rank(), 0, {1, 2, 3, 4}, barriers, 0);
  });
}

TEST(ClusterReports, WritesThatAreNotFencedBeforeTheArrival) {
  int32_t number = 0;
  for (const bool fences : {false, true}) {
    expect_report(cluster_launch(0, 2, Mbarriers::bytes(1), 1), {"global memory", "conflicts between blocks"}, [&] {
      SharedMemory memory;
      const Mbarriers barriers{memory, 1};
      if (thread_index() == 0) barriers.init(0, 1);
      Exchange::sync();
      if (cluster_rank() == 0) {
        if (fences && thread_index() == 0) thread_fence();  // too early
        if (thread_index() == 63) store(&number, 7);
        block_sync();
        if (thread_index() == 0) barriers.arrive_at(1, 0, 0);
        return;
      }
      barriers.wait_for_cluster(0, 0);
      load(&number);
    });
  }
}

TEST(ClusterReports, WriteByThreadsToWhatPushesFill) {
  expect_report(cluster_launch(0, 1, 16 + Mbarriers::bytes(1)), {"write to what bulk copies fill"}, [] {
    SharedMemory memory;
    const auto numbers = memory.take<int32_t>(4);
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) barriers.init(0, 1);
    Exchange::sync();
    if (thread_index() == 0) push(numbers, 0, 0, {1, 2, 3, 4}, barriers, 0);
    if (thread_index() == 0) numbers.store(0, 1);
    block_sync();
  });
}

TEST(ClusterReports, RankOutsideOfTheCluster) {
  expect_report(cluster_launch(0, 2, Mbarriers::bytes(1)), {"rank 2, but the cluster has 2 blocks"}, [] {
    SharedMemory memory;
    Mbarriers{memory, 1}.arrive_at(2, 0, 0);
  });
}

TEST(ClusterReports, GlobalMemoryBetweenArrivalAndWait) {
  int32_t number = 0;
  expect_report(cluster_launch(0, 2, 0, 1), {"conflicts between blocks"}, [&] {
    cluster_arrive();
    if (block_x() == 0 && thread_index() == 0) store(&number, 1);
    cluster_wait();
    if (block_x() == 1) load(&number);
  });
  expect_report(cluster_launch(0, 2, 0, 1), {"conflicts between blocks"}, [&] {
    if (block_x() == 0 && thread_index() == 0) store(&number, 1);
    cluster_arrive();
    if (block_x() == 1) load(&number);
    cluster_wait();
  });
}

TEST(ClusterReports, BlocksOwnMemoryBetweenArrivalAndWait) {
  expect_report(cluster_launch(0, 1, shared_bytes<int32_t>(1)), {"shared memory"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(1);
    if (thread_index() == 0) numbers.store(0, 1);
    cluster_arrive();
    numbers.load(0);
    cluster_wait();
  });
  expect_report(cluster_launch(0, 1, shared_bytes<int32_t>(1)), {"shared memory"}, [] {
    const auto numbers = SharedMemory{}.take<int32_t>(1);
    cluster_arrive();
    if (thread_index() == 0) numbers.store(0, 1);
    cluster_wait();
    numbers.load(0);
  });
}

TEST(ClusterReports, ArrivalsAndWaitsOutOfTurn) {
  expect_report(cluster_launch(0, 2, 0), {"waits at the cluster's barrier before it arrives"}, [] { cluster_wait(); });
  expect_report(cluster_launch(0, 2, 0), {"arrives at the cluster's barrier again"}, [] {
    cluster_arrive();
    cluster_arrive();
  });
  expect_report(cluster_launch(0, 2, 0), {"ended before it waited at the cluster's barrier"}, [] { cluster_arrive(); });
}

TEST(ClusterReports, BarrierThatSomeThreadsOfTheClusterDoNotReach) {
  expect_report(cluster_launch(0, 2, 0), {"deadlock", "wait in cluster_wait", "wait in block_sync"}, [] {
    if (cluster_rank() == 1 && thread_index() == 5) block_sync();
    cluster_arrive();
    cluster_wait();
  });
}

TEST(ClusterReports, GridThatClustersDoNotDivide) {
  Launch launch = cluster_launch(0, 2, 0);
  launch.grid_x = 3;
  EXPECT_THROW(run(launch, [] {}), Report);
}

void expect_report_of(Ring ring, const std::string& word) {
  expect_report(one_block(64, 0, Ring::kShared), {word}, [&] { ring.run_block(); });
}

TEST(BulkCopyReports, ReadOfAStageThatHasNotLanded) {
  Ring ring;
  ring.waits = false;
  expect_report_of(ring, "read of");
}

TEST(BulkCopyReports, WrongPhase) {
  Ring ring;
  ring.wrong_phase = 1;
  expect_report_of(ring, "seed");  // early reads, or a wait that never ends
}

TEST(BulkCopyReports, StageOverwrittenWhileItIsRead) {
  Ring ring;
  ring.waits_for_readers = false;
  expect_report_of(ring, "copy over elements");
}

TEST(BulkCopyReports, ReaderThatDoesNotArrive) {
  Ring ring;
  ring.arrives = false;
  expect_report_of(ring, "deadlock");
}

TEST(BulkCopyReports, PhaseThatNeverCompletes) {
  Ring ring;
  ring.missing_bytes = -16;
  expect_report_of(ring, "wait in mbarrier_wait");
}

TEST(BulkCopyReports, PhaseThatExpectsTooFewBytes) {
  Ring ring;
  ring.missing_bytes = 16;
  expect_report_of(ring, "seed");  // reads of what has not landed, or a phase that never completes
}

TEST(BulkCopyReports, TooManyArrivals) {
  expect_report(one_block(2, 0, Mbarriers::bytes(1)), {"more than 2 arrivals", "mbarrier 0"}, [] {
    SharedMemory memory;
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) barriers.init(0, 2);
    block_sync();
    barriers.arrive_and_expect(0, 16);
    if (thread_index() == 0) barriers.arrive(0);
  });
}

TEST(BulkCopyReports, MbarrierBeforeItIsInitialised) {
  expect_report(one_block(64, 0, Mbarriers::bytes(1)), {"shared memory"}, [] {
    SharedMemory memory;
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) barriers.init(0, 64);
    barriers.arrive(0);
  });
}

TEST(BulkCopyReports, CopiesThatNobodyWaitedFor) {
  alignas(16) static const float from[4] = {1, 2, 3, 4};
  expect_report(one_block(1, 0, 16 + Mbarriers::bytes(1)), {"ended before the block's bulk copies landed"}, [] {
    SharedMemory memory;
    const auto to = memory.take<float>(4);
    const Mbarriers barriers{memory, 1};
    barriers.init(0, 1);
    start_bulk_copy(to, 0, from, 16, barriers, 0);
  });
}

TEST(BulkCopyReports, SourceThatIsWrittenBeforeTheCopyLands) {
  alignas(16) static int32_t from[4] = {1, 2, 3, 4};
  expect_report(one_block(64, 0, 16 + Mbarriers::bytes(1)), {"global memory"}, [] {
    SharedMemory memory;
    const auto to = memory.take<int32_t>(4);
    const Mbarriers barriers{memory, 1};
    if (thread_index() == 0) {
      barriers.init(0, 1);
      barriers.arrive_and_expect(0, 16);
      start_bulk_copy(to, 0, from, 16, barriers, 0);
    }
    if (thread_index() == 63) store(&from[2], 5);
    block_sync();
    barriers.wait(0, 0);
  });
}

TEST(BulkCopyReports, MisalignedOnes) {
  alignas(16) static const float from[8] = {};
  const auto copy = [](int32_t to, int32_t first, int32_t bytes) {
    SharedMemory memory;
    const auto array = memory.take<float>(8);
    const Mbarriers barriers{memory, 1};
    barriers.init(0, 1);
    start_bulk_copy(array, to, from + first, bytes, barriers, 0);
  };
  const Launch launch = one_block(1, 0, 32 + Mbarriers::bytes(1));
  expect_report(launch, {"misaligned"}, [&] { copy(1, 0, 16); });
  expect_report(launch, {"misaligned"}, [&] { copy(0, 1, 16); });
  expect_report(launch, {"misaligned"}, [&] { copy(0, 0, 24); });
  expect_report(launch, {"out of range"}, [&] { copy(4, 0, 32); });
}

}  // namespace
}  // namespace hashevict::simt
