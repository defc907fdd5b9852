// SPDX-License-Identifier: Apache-2.0
// The executor itself: correct kernels run and agree under every seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>
#include <vector>

#include "executor_launches.hpp"

namespace hashevict::simt {
namespace {

TEST(Executor, EveryThreadOfEveryBlockRunsOnce) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const int32_t at_once : {1, 3, 20}) {
      Launch launch{.grid_x = 3, .grid_y = 4, .threads = 70, .seed = seed, .blocks_at_once = at_once};
      std::vector<int32_t> count(3 * 4 * 70, 0);
      run(launch, [&] {
        const int32_t i = (block_y() * 3 + block_x()) * 70 + warp() * 32 + lane();
        store(&count[static_cast<std::size_t>(i)], load(&count[static_cast<std::size_t>(i)]) + 1);
      });
      EXPECT_EQ(count, std::vector<int32_t>(3 * 4 * 70, 1));
    }
  }
}

TEST(Executor, SameSeedGivesTheSameOrderAndOthersAnother) {
  const auto order_of = [](uint64_t seed) {
    Launch launch{.grid_x = 5, .threads = 40, .seed = seed, .blocks_at_once = 2};
    std::vector<int32_t> order;
    run(launch, [&] {
      order.push_back(block_x() * 100 + thread_index());
      block_sync();
      order.push_back(block_x() * 100 + thread_index());
    });
    return order;
  };
  std::set<std::vector<int32_t>> orders;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    EXPECT_EQ(order_of(seed), order_of(seed));
    orders.insert(order_of(seed));
  }
  EXPECT_EQ(orders.size(), kSeeds);
}

TEST(Executor, BlocksAreInterleavedOnlyIfAsked) {
  const auto switches = [](int32_t at_once) {
    Launch launch{.grid_x = 4, .threads = 32, .seed = 1, .blocks_at_once = at_once};
    std::vector<int32_t> blocks;
    run(launch, [&] {
      for (int i = 0; i < 4; ++i) {
        block_sync();
        blocks.push_back(block_x());
      }
    });
    int count = 0;
    for (std::size_t i = 1; i < blocks.size(); ++i) count += blocks[i] != blocks[i - 1] ? 1 : 0;
    return count;
  };
  EXPECT_EQ(switches(1), 3);
  EXPECT_GT(switches(4), 30);
}

TEST(Executor, VotesAndShufflesGiveWhatADeviceGives) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(64, seed), [&] {
      const auto value = static_cast<uint32_t>(lane() * 3 + warp());
      EXPECT_EQ(ballot(kFullMask, lane() % 3 == 0), 0x49249249U);
      EXPECT_TRUE(any(kFullMask, lane() == 31));
      EXPECT_FALSE(any(kFullMask, lane() == 32));
      EXPECT_TRUE(all(kFullMask, lane() < 32));
      EXPECT_FALSE(all(kFullMask, lane() != 7));
      EXPECT_EQ(shuffle(kFullMask, value, 5), 15U + static_cast<uint32_t>(warp()));
      EXPECT_EQ(shuffle_xor(kFullMask, lane(), 9), lane() ^ 9);
      EXPECT_EQ(shuffle_down(kFullMask, static_cast<float>(lane()), 4),
                static_cast<float>(lane() < 28 ? lane() + 4 : lane()));
      EXPECT_EQ(warp_max(value), 93U + static_cast<uint32_t>(warp()));
      EXPECT_EQ(warp_sum(value), 1488U + 32U * static_cast<uint32_t>(warp()));
      EXPECT_EQ(block_max<64>(uint64_t{value} << 40), uint64_t{94} << 40);
      if (lane() < 16) {
        EXPECT_EQ(ballot(0xFFFFU, true), 0xFFFFU);
        EXPECT_EQ(shuffle(0xFFFFU, lane(), 15 - lane()), 15 - lane());
      }
    });
  }
}

TEST(Executor, TilesAreMultipliedAndTurnedRound) {
  // Whole numbers make sums exact, so a misplaced element shows.
  const auto a = [](int32_t row, int32_t k) { return static_cast<float>(3 * row + 5 * k - 40 + row * k % 7); };
  const auto b = [](int32_t k, int32_t column) { return static_cast<float>(2 * k - 7 * column + k * column % 5); };
  const auto bits = [](float value) { return bits_of_float(value) >> 16; };
  const auto pair_of = [&](float low, float high) { return bits(low) | bits(high) << 16; };
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(32, seed), [&] {
      const int32_t row = lane() / 4;
      const int32_t pair = lane() % 4 * 2;
      uint32_t of_a[4], of_b[2];
      float c[4];
      for (int32_t i = 0; i < 4; ++i) {
        of_a[i] = pair_of(a(row + i % 2 * 8, pair + i / 2 * 8), a(row + i % 2 * 8, pair + i / 2 * 8 + 1));
        c[i] = static_cast<float>(row + i / 2 * 8 - 100 * (pair + i % 2));
      }
      for (int32_t i = 0; i < 2; ++i) of_b[i] = pair_of(b(pair + i * 8, row), b(pair + i * 8 + 1, row));
      mma<true>(c, of_a, of_b);
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t at_row = row + i / 2 * 8;
        const int32_t at_column = pair + i % 2;
        auto expected = static_cast<float>(at_row - 100 * at_column);
        for (int32_t k = 0; k < 16; ++k) expected += a(at_row, k) * b(k, at_column);
        EXPECT_EQ(c[i], expected) << at_row << ", " << at_column;
      }
      const auto element = [](int32_t i, int32_t j) { return static_cast<uint32_t>(16 * i + j + 1); };
      const uint32_t turned = transpose(element(row, pair) | element(row, pair + 1) << 16);
      EXPECT_EQ(turned, element(pair, row) | element(pair + 1, row) << 16);
    });
  }
}

TEST(Executor, TilesLoseWhatThePoorestTensorCoresLose) {
  run(one_block(32, 0), [] {
    const uint32_t one = 0x3C003C00U;  // fp16
    const uint32_t a[4] = {one, one, one, one};
    const uint32_t b[2] = {one, one};
    float c[4] = {0x1p24F, -0x1p24F, 0x1p23F, 0.5F};
    mma<false>(c, a, b);
    EXPECT_EQ(c[0], 0x1p24F);  // each 1 is below the last place of 2^24
    EXPECT_EQ(c[1], -0x1p24F);
    EXPECT_EQ(c[2], 0x1p23F + 16.0F);
    EXPECT_EQ(c[3], 16.5F);
  });
}

TEST(Executor, AtomicsOfAllBlocksCount) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    uint32_t round = 0;
    uint32_t last_ones = 0;
    run(Launch{.grid_x = 6, .threads = 33, .seed = seed, .blocks_at_once = 3}, [&] {
      if (atomic_increment(&round, 65) == 65) atomic_increment(&last_ones, UINT32_MAX);
    });
    EXPECT_EQ(round, 0U);
    EXPECT_EQ(last_ones, 3U);
  }
}

TEST(Executor, BarriersOrderSharedMemory) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(96, seed, shared_bytes<int32_t>(96)), [&] {
      const auto numbers = SharedMemory{}.take<int32_t>(96);
      for (int32_t round = 0; round < 3; ++round) {
        numbers.store(thread_index(), thread_index() * round);
        block_sync();
        EXPECT_EQ(numbers.load(95 - thread_index()), (95 - thread_index()) * round);
        block_sync();
      }
    });
  }
}

TEST(Executor, WarpBarriersOrderTheirWarp) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(64, seed, shared_bytes<int32_t>(64)), [&] {
      const auto numbers = SharedMemory{}.take<int32_t>(64);
      numbers.store(thread_index(), lane());
      warp_sync(kFullMask);
      EXPECT_EQ(numbers.load(warp() * 32 + 31 - lane()), 31 - lane());
      warp_sync(kFullMask);
      if (lane() < 8) {
        numbers.store(thread_index(), 7);
        warp_sync(0xFFU);
        EXPECT_EQ(numbers.load(warp() * 32 + (lane() + 1) % 8), 7);
      }
    });
  }
}

TEST(Executor, TicketsOrderBlocks) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const int32_t at_once : {1, 3}) {
      Ticket ticket;
      run(ticket_launch(seed, at_once), [&] { ticket.take(true, true); });
      EXPECT_EQ(ticket.sum, 10);
    }
  }
}

TEST(Executor, NeighbouringBytesHaveNothingToDoWithEachOther) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    alignas(4) std::array<uint8_t, 64> bytes{};
    alignas(4) const std::array<uint8_t, 64> constants{};
    run(Launch{.grid_x = 2, .threads = 32, .seed = seed, .blocks_at_once = 2}, [&] {
      const auto own = static_cast<std::size_t>(thread_index() * 2 + block_x());
      store(&bytes[own], static_cast<uint8_t>(load_constant(&constants[own]) + load(&bytes[own]) + 1));
    });
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 1), 64);
  }
}

TEST(Executor, CopiesArriveWhenTheyAreWaitedFor) {
  alignas(16) const std::array<float, 64> from{1, 2, 3, 4};
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(16, seed, shared_bytes<float>(64)), [&] {
      const auto to = SharedMemory{}.take<float>(64);
      to.start_copy(4 * thread_index(), &from[static_cast<std::size_t>(4 * thread_index())]);
      const float early = to.load(4 * thread_index() + 3);
      wait_for_copies();
      const float late = to.load(4 * thread_index() + 3);
      if (thread_index() > 0) return;
      EXPECT_NE(early, 4.0F);
      EXPECT_EQ(late, 4.0F);
    });
  }
}

/// A thread takes what it has copied group by group, the oldest first, while the newest two are on their way.
TEST(Executor, GroupsOfCopiesArriveInOrder) {
  alignas(16) static const std::array<float, 32> from = [] {
    std::array<float, 32> numbers{};
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i + 1);
    return numbers;
  }();
  constexpr int32_t kEntries = 3;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run(one_block(1, seed, shared_bytes<float>(4 * kEntries)), [] {
      const auto to = SharedMemory{}.take<float>(4 * kEntries);
      for (int32_t n = -kEntries; n < 8; ++n) {
        if (n >= 0) {
          wait_for_older_copies<kEntries - 1>();
          float numbers[4];
          to.load_many(n % kEntries * 4, numbers);
          EXPECT_EQ(numbers[3], static_cast<float>(4 * n + 4));
          if (n + 1 == 8) return;
          EXPECT_NE(to.load((n + 1) % kEntries * 4 + 3), static_cast<float>(4 * n + 8));
        }
        const int32_t next = n + kEntries;
        if (next < 8) to.start_copy(next % kEntries * 4, &from[static_cast<std::size_t>(4 * next)]);
        commit_copies();  // of nothing behind the end
      }
    });
  }
}

TEST(Executor, CopiesOfZerosReadNothing) {
  run(one_block(1, 0, shared_bytes<float>(4)), [] {
    const auto to = SharedMemory{}.take<float>(4);
    to.start_copy_or_zeros(0, reinterpret_cast<const float*>(16), false);
    EXPECT_NE(bits_of_float(to.load(1)), 0U);
    wait_for_copies();
    EXPECT_EQ(bits_of_float(to.load(1)), 0U);
  });
}

/// An order that no barrier enforces must also show as a wrong result, as in a race over unwatched memory.
TEST(Executor, OrdersOfFibersDiffer) {
  std::set<int32_t> last;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    int32_t unwatched = -1;
    run(one_block(64, seed), [&] {
      block_sync();
      unwatched = thread_index();
    });
    last.insert(unwatched);
  }
  EXPECT_GT(last.size(), 20U);
}

}  // namespace
}  // namespace hashevict::simt
