// SPDX-License-Identifier: Apache-2.0
// Clusters, mbarriers and bulk copies on the executor: correct kernels run and agree under every seed.
#include <gtest/gtest.h>

#include <vector>

#include "cluster_launches.hpp"

namespace hashevict::simt {
namespace {

TEST(Cluster, BlocksExchangeNumbersBothWays) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const int32_t cluster : {1, 2, 8}) {
      Launch launch = cluster_launch(seed, cluster, 2 * shared_bytes<int32_t>(8));
      launch.blocks_at_once = seed % 2 == 0 ? 1 : 20;
      std::vector<int32_t> sums(static_cast<std::size_t>(launch.grid_x));
      run(launch, [&] {
        SharedMemory memory;
        const auto given = memory.take<int32_t>(8);
        const auto kept = memory.take<int32_t>(8);
        EXPECT_EQ(cluster_size(), cluster);
        EXPECT_EQ(cluster_rank(), block_x() % cluster);
        cluster_arrive();
        if (thread_index() == 40) kept.store(0, block_x() + 1);
        cluster_wait();
        if (thread_index() < cluster) store_to(given, thread_index(), cluster_rank(), block_x() + 1);
        cluster_arrive();
        cluster_wait();
        if (thread_index() == 33) {
          int32_t sum = 0;
          for (int32_t rank = 0; rank < cluster; ++rank) sum += given.load(rank) * load_from(kept, rank, 0);
          sums[static_cast<std::size_t>(block_x())] = sum;
        }
        cluster_arrive();
        cluster_wait();
      });
      for (int32_t block = 0; block < launch.grid_x; ++block) {
        int32_t expected = 0;
        const int32_t first = block / cluster * cluster + 1;
        for (int32_t other = first; other < first + cluster; ++other) expected += other * other;
        EXPECT_EQ(sums[static_cast<std::size_t>(block)], expected);
      }
    }
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
