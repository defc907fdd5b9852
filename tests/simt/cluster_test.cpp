// SPDX-License-Identifier: Apache-2.0
// Clusters, mbarriers and bulk copies on the executor: correct kernels run and agree under every seed.
#include <gtest/gtest.h>

#include <vector>

#include "cluster_launches.hpp"

namespace hashevict::simt {
namespace {

TEST(Cluster, BlocksPushNumbersToEachOther) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const int32_t cluster : {1, 2, 8}) {
      Exchange exchange;
      Launch launch = cluster_launch(seed, cluster, Exchange::shared(cluster));
      launch.blocks_at_once = seed % 2 == 0 ? 1 : 20;
      exchange.sums.resize(static_cast<std::size_t>(launch.grid_x));
      run(launch, [&] {
        EXPECT_EQ(cluster_size(), cluster);
        EXPECT_EQ(cluster_rank(), block_x() % cluster);
        exchange.run_block();
      });
      for (int32_t block = 0; block < launch.grid_x; ++block) {
        int32_t expected = 0;
        const int32_t first = block / cluster * cluster;
        for (int32_t round = 0; round < Exchange::kRounds; ++round) {
          for (int32_t other = first; other < first + cluster; ++other) {
            expected += Exchange::number(other, round, 0) + Exchange::number(other, round, 3);
          }
        }
        EXPECT_EQ(exchange.sums[static_cast<std::size_t>(block)], expected);
      }
    }
  }
}

TEST(Cluster, ArrivalPassesOnWhatTheThreadFenced) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    int32_t number = 0;
    run(cluster_launch(seed, 2, Mbarriers::bytes(1), 1), [&] {
      SharedMemory memory;
      const Mbarriers barriers{memory, 1};
      if (thread_index() == 0) barriers.init(0, 1);
      cluster_arrive();
      cluster_wait();
      if (cluster_rank() == 0) {
        if (thread_index() == 63) store(&number, 7);
        block_sync();
        if (thread_index() == 0) thread_fence();
        if (thread_index() == 0) barriers.arrive_at(1, 0, 0);
        return;
      }
      barriers.wait_for_cluster(0, 0);
      EXPECT_EQ(load(&number), 7);
    });
  }
}

TEST(Cluster, BarrierOrdersGlobalMemory) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    int32_t number = 0;
    run(cluster_launch(seed, 4, 0, 1), [&] {
      if (block_x() == 2 && thread_index() == 0) store(&number, 7);
      cluster_arrive();
      cluster_wait();
      EXPECT_EQ(load(&number), 7);
      cluster_arrive();
      cluster_wait();
      if (block_x() == 1 && thread_index() == 63) store(&number, 8);
    });
    EXPECT_EQ(number, 8);
  }
}

TEST(Cluster, BlocksThatHaveEndedCountAsArrived) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    int32_t count = 0;
    run(cluster_launch(seed, 4, 0, 3), [&] {
      if (cluster_rank() == 3) return;
      cluster_arrive();
      cluster_wait();
      ++count;
    });
    EXPECT_EQ(count, 3 * 3 * 64);
  }
}

TEST(BulkCopies, GoThroughARing) {
  for (uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
    Ring ring;
    run(one_block(64, seed, Ring::kShared), [&] { ring.run_block(); });
    EXPECT_EQ(ring.sums[0] + ring.sums[1], 32 * 33 / 2);
    EXPECT_EQ(ring.sums[1] - ring.sums[0], 4 * 16);
  }
}

}  // namespace
}  // namespace hashevict::simt
