// SPDX-License-Identifier: Apache-2.0
#include "core/rule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

namespace hashevict {
namespace {

constexpr int32_t kSlots = 64;
constexpr int32_t kSteps = 64000;

/// The position of largest score among positions first, first + stride, ... at a step.
int32_t victim(uint64_t seed, int32_t step, int32_t first, int32_t stride) {
  const core::StepFacts facts{step, 16, core::random_word(seed, step, 2, 5)};
  const auto score = [&](int32_t slot) { return core::Random::score({}, 0, first + slot * stride, facts); };
  std::array<int32_t, kSlots> slots{};
  std::iota(slots.begin(), slots.end(), 0);
  return *std::max_element(slots.begin(), slots.end(), [&](int32_t a, int32_t b) { return score(a) < score(b); });
}

/// Sum over counts of (count - expected)^2 / expected.
double chi_square(const std::vector<int32_t>& counts) {
  const double expected = static_cast<double>(kSteps) / static_cast<double>(counts.size());
  double sum = 0;
  for (const int32_t count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

/// 1 in a million for 63 degrees of freedom is 130.
TEST(RuleRandom, EvictsEachPositionEquallyOften) {
  for (const int32_t stride : {1, 3, 4096}) {
    for (const int32_t first : {0, 7, 100000}) {
      std::vector<int32_t> counts(kSlots, 0);
      for (int32_t step = 0; step < kSteps; ++step) ++counts[static_cast<std::size_t>(victim(9, step, first, stride))];
      EXPECT_LT(chi_square(counts), 130) << "positions " << first << " + " << stride << " i";
    }
  }
}

/// Of victims that follow each other, in eight classes each.
TEST(RuleRandom, VictimsOfConsecutiveStepsAreIndependent) {
  std::vector<int32_t> counts(64, 0);
  int32_t before = 0;
  for (int32_t step = 0; step < kSteps; ++step) {
    const int32_t now = victim(10, step, 50, 1) / 8;
    ++counts[static_cast<std::size_t>(8 * before + now)];
    before = now;
  }
  EXPECT_LT(chi_square(counts), 130);
}

TEST(RuleRandom, NoTwoPositionsTie) {
  std::vector<uint32_t> scores(100000);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = core::Random::score({}, 0, static_cast<int32_t>(i), {0, 16, 0x9E3779B9U});
  }
  std::sort(scores.begin(), scores.end());
  EXPECT_EQ(std::adjacent_find(scores.begin(), scores.end()), scores.end());
}

}  // namespace
}  // namespace hashevict
