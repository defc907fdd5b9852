// SPDX-License-Identifier: Apache-2.0
// Clusters, mbarriers and bulk copies on the executor: every planted fault is reported.
#include "cluster_launches.hpp"
#include "expect_report.hpp"

namespace hashevict::simt {
namespace {

/// Blocks leave a number each in shared memory, which their neighbours read.
struct Exchange {
  bool starts = true;     ///< a barrier before the first remote access
  bool exchanges = true;  ///< between the writes and the reads
  bool ends = true;       ///< before the blocks end

  void run_block() const {
    const auto numbers = SharedMemory{}.take<int32_t>(2);
    const int32_t other = 1 - cluster_rank();
    if (starts) sync();
    if (thread_index() == 0) store_to(numbers, other, 0, 5);
    if (thread_index() == 0) numbers.store(1, 6);
    if (exchanges) sync();
    if (thread_index() == 33) load_from(numbers, other, 1);
    if (ends) sync();
  }
  static void sync() {
    cluster_arrive();
    cluster_wait();
  }
};

void expect_report_of(const Exchange& exchange, const std::string& word) {
  for (const int32_t at_once : {1, 6}) {
    Launch launch = cluster_launch(0, 2, shared_bytes<int32_t>(2));
    launch.blocks_at_once = at_once;
    expect_report(launch, {word, "shared memory", "cluster_report_test.cpp"}, [&] { exchange.run_block(); });
  }
}

TEST(ClusterReports, RemoteAccessBeforeTheOtherBlockIsKnownToRun) {
  expect_report_of({.starts = false}, "no barrier of the cluster says that block");
}

TEST(ClusterReports, RemoteReadBeforeTheClustersBarrier) {
  expect_report(cluster_launch(0, 2, shared_bytes<int32_t>(2)), {"shared memory", "cluster_report_test.cpp"},
                [&] { Exchange{.exchanges = false}.run_block(); });
}

TEST(ClusterReports, BlockThatEndsWhileOthersReadItsMemory) {
  expect_report(cluster_launch(0, 2, shared_bytes<int32_t>(2)), {"shared memory"},
                [&] { Exchange{.ends = false}.run_block(); });
}

TEST(ClusterReports, RankOutsideOfTheCluster) {
  expect_report(cluster_launch(0, 2, shared_bytes<int32_t>(1)), {"rank 2, but the cluster has 2 blocks"},
                [] { load_from(SharedMemory{}.take<int32_t>(1), 2, 0); });
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
