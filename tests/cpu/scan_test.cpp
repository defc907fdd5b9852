// SPDX-License-Identifier: Apache-2.0
// Distances and the choice of a slot, for every instruction set, against plain loops.
#define HWY_WANT_AVX3_DL  // as in cpu/scan_kernel.cpp
#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "cpu/scan_kernel.hpp"
#include "cpu/select_kernel.hpp"
#include "each_target.hpp"

namespace hashevict::cpu {
namespace {

class Scan : public EachTarget {
 protected:
  std::mt19937 random_{20};  // NOLINT: every run uses the same inputs

  std::vector<uint8_t> codes(int32_t count, int32_t code_bytes) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count * code_bytes));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    return bytes;
  }
};
HASHEVICT_FOR_EACH_TARGET(Scan);

uint32_t distance(const uint8_t* a, const uint8_t* b, int32_t bytes) {
  uint32_t sum = 0;
  for (int32_t i = 0; i < bytes; ++i) sum += static_cast<uint32_t>(std::popcount(static_cast<uint8_t>(a[i] ^ b[i])));
  return sum;
}

/// Numbers of probes: one, a few, and around the most that one pass can count in bytes.
TEST_P(Scan, SumsDistancesToEveryNumberOfProbes) {
  for (const int32_t bytes : {1, 2, 4, 8, 16}) {
    for (const int32_t num_slots : {0, 64, 128, 320}) {
      const std::vector<uint8_t> slots = codes(num_slots, bytes);
      for (const int32_t num_probes : {1, 2, 4, 7, 31, 32, 70}) {
        const std::vector<uint8_t> probes = codes(num_probes, bytes);
        std::vector<uint32_t> got(static_cast<size_t>(num_slots), 0xABCD);
        hamming_distances(slots.data(), bytes, num_slots, probes.data(), num_probes, got.data());
        for (int32_t slot = 0; slot < num_slots; ++slot) {
          uint32_t sum = 0;
          for (int32_t p = 0; p < num_probes; ++p) {
            sum += distance(slots.data() + slot * bytes, probes.data() + p * bytes, bytes);
          }
          ASSERT_EQ(got[static_cast<size_t>(slot)], sum) << bytes << " bytes, " << num_probes << " probes";
        }
      }
    }
  }
}

TEST_P(Scan, SumsLargestDistances) {
  constexpr int32_t kProbes = 33;
  for (const int32_t bytes : {1, 2, 4, 8, 16}) {
    const std::vector<uint8_t> slots(static_cast<size_t>(64 * bytes), 0xFF);
    const std::vector<uint8_t> probes(static_cast<size_t>(kProbes * bytes), 0);
    std::vector<uint32_t> got(64);
    hamming_distances(slots.data(), bytes, 64, probes.data(), kProbes, got.data());
    EXPECT_EQ(got, std::vector<uint32_t>(64, static_cast<uint32_t>(8 * bytes * kProbes))) << bytes << " bytes";
  }
}

TEST_P(Scan, DrawsTheNumbersOfRuleRandom) {
  for (const uint32_t draw : {0U, 0x12345678U, ~0U}) {
    const core::StepFacts facts{static_cast<int32_t>(random_() >> 1), 16, draw};
    std::vector<int32_t> positions(192);
    for (int32_t& position : positions) position = static_cast<int32_t>(random_());
    std::vector<uint32_t> got(192), maxima(1);
    score_slots({.rule = core::RuleKind::random,
                 .facts = facts,
                 .codes = nullptr,
                 .positions = positions.data(),
                 .accumulators = nullptr,
                 .importances = nullptr,
                 .importance_slopes = nullptr,
                 .num_slots = 192,
                 .code_bytes = 2,
                 .probes = nullptr,
                 .num_probes = 0,
                 .scores = got.data(),
                 .block_maxima = maxima.data(),
                 .evictable = {0, INT32_MAX},
                 .many_protected = false});
    for (size_t j = 0; j < positions.size(); ++j) {
      EXPECT_EQ(got[j], core::Random::score({}, 0, positions[j], facts)) << "draw " << draw << ", slot " << j;
    }
  }
}

/// The definition: the evictable slot with the largest score; among equals the oldest, or the lowest.
int32_t plain_selection(const SelectSlot& args) {
  int32_t best = -1;
  for (int32_t slot = 0; slot < args.num_slots; ++slot) {
    const int32_t position = args.positions[slot];
    if (position < 0 || position < args.evictable.first || position >= args.evictable.end) continue;
    const bool larger = best < 0 || args.scores[slot] > args.scores[best];
    const bool older =
        args.oldest_first && !larger && args.scores[slot] == args.scores[best] && position < args.positions[best];
    if (larger || older) best = slot;
  }
  return best;
}

/// Few different scores, so that ties are common, or so many that block after block has a protected slot in front;
/// positions in random order, some slots empty.
TEST_P(Scan, SelectsTheLargestEvictableScore) {
  for (const int32_t num_slots : {0, 64, 192, 1024, 1088, 12288}) {
    std::vector<uint32_t> scores(static_cast<size_t>(num_slots)), maxima(static_cast<size_t>(num_blocks(num_slots)));
    std::vector<int32_t> positions(static_cast<size_t>(num_slots));
    for (const uint32_t values : {1U, 3U, 1000U, 1U << 20}) {
      for (size_t i = 0; i < scores.size(); ++i) {
        scores[i] = static_cast<uint32_t>(random_()) % values;
        positions[i] = static_cast<int32_t>(i);
      }
      std::shuffle(positions.begin(), positions.end(), random_);
      for (size_t i = 0; i + 5 < positions.size(); i += 17) positions[i] = -1;
      for (const int32_t first : {0, 4, num_slots / 2, num_slots - 20}) {
        for (const int32_t end : {0, first, first + 1, num_slots - 7, INT32_MAX}) {
          for (const bool oldest : {false, true}) {
            find_block_maxima(scores.data(), num_slots, maxima.data());
            const SelectSlot args{scores.data(), maxima.data(), positions.data(), num_slots, {first, end}, oldest};
            ASSERT_EQ(select_slot(args), plain_selection(args)) << num_slots << " slots, " << first << " to " << end;
          }
        }
      }
    }
  }
}

/// Of all slots, or of the evictable ones, which are then found at once.
TEST_P(Scan, FindsTheLargestScoreOfEachBlock) {
  constexpr int32_t kSlots = 2 * kBlockSlots + 128;
  const std::vector<uint8_t> slots = codes(kSlots, 4);
  const std::vector<uint8_t> probe = codes(1, 4);
  std::vector<int32_t> positions(kSlots);
  for (int32_t i = 0; i < kSlots; ++i) positions[static_cast<size_t>(i)] = i;
  std::shuffle(positions.begin(), positions.end(), random_);
  const PositionRange evictable{100, kSlots / 2};
  for (const bool many_protected : {false, true}) {
    std::vector<uint32_t> scores(kSlots), maxima(3), expected(3, 0);
    score_slots({.rule = core::RuleKind::farthest_from_key,
                 .facts = {kSlots, 32, 0},
                 .codes = slots.data(),
                 .positions = positions.data(),
                 .accumulators = nullptr,
                 .importances = nullptr,
                 .importance_slopes = nullptr,
                 .num_slots = kSlots,
                 .code_bytes = 4,
                 .probes = probe.data(),
                 .num_probes = 1,
                 .scores = scores.data(),
                 .block_maxima = maxima.data(),
                 .evictable = evictable,
                 .many_protected = many_protected});
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      const auto at = static_cast<size_t>(slot);
      ASSERT_EQ(scores[at], distance(slots.data() + slot * 4, probe.data(), 4)) << "slot " << slot;
      const bool counts = !many_protected || (positions[at] >= evictable.first && positions[at] < evictable.end);
      uint32_t& largest = expected[at / kBlockSlots];
      if (counts) largest = std::max(largest, scores[at]);
    }
    EXPECT_EQ(maxima, expected) << "many protected: " << many_protected;
    const SelectSlot args{scores.data(), maxima.data(), positions.data(), kSlots, evictable, true};
    EXPECT_EQ(select_slot(args), plain_selection(args)) << "many protected: " << many_protected;
  }
}

/// Scores beyond 2^31 compare as unsigned numbers.
TEST_P(Scan, SelectsAmongScoresOfAllBits) {
  std::vector<uint32_t> scores(64, 5);
  std::vector<int32_t> positions(64);
  for (int32_t i = 0; i < 64; ++i) positions[static_cast<size_t>(i)] = i;
  scores[17] = 0x80000000U;
  scores[40] = ~0U;
  uint32_t maximum = ~0U;
  SelectSlot args{scores.data(), &maximum, positions.data(), 64, {0, INT32_MAX}, false};
  EXPECT_EQ(select_slot(args), 40);
  args.evictable.end = 40;
  EXPECT_EQ(select_slot(args), 17);
}

}  // namespace
}  // namespace hashevict::cpu
