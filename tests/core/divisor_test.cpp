// SPDX-License-Identifier: Apache-2.0
#include "core/divisor.hpp"

#include <gtest/gtest.h>

#include <climits>
#include <cstdint>
#include <random>

namespace hashevict {
namespace {

/// The numbers around a multiple of the divisor, where a quotient that is off by one shows.
void expect_quotients_around(int32_t divisor, int64_t multiple) {
  const core::Divisor by{divisor};
  for (int64_t number = multiple - 1; number <= multiple + 1; ++number) {
    if (number < 0 || number > INT32_MAX) continue;
    const auto small = static_cast<int32_t>(number);
    ASSERT_EQ(by.divide(small), small / divisor) << small << " / " << divisor;
  }
}

TEST(Divisor, GivesTheQuotientsOfADivision) {
  std::mt19937 random{4};
  for (int i = 0; i < 200000; ++i) {
    const auto divisor = static_cast<int32_t>(1 + (random() >> (1 + random() % 31)) % INT32_MAX);
    const auto number = static_cast<int32_t>(random() >> 1);
    expect_quotients_around(divisor, int64_t{number / divisor} * divisor);
  }
}

TEST(Divisor, GivesTheQuotientsOfTheLargestNumbers) {
  for (const int32_t divisor : {1, 2, 3, 16, 1000, 1 << 20, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, INT32_MAX}) {
    expect_quotients_around(divisor, 0);
    expect_quotients_around(divisor, divisor);
    expect_quotients_around(divisor, int64_t{INT32_MAX / divisor} * divisor);
    expect_quotients_around(divisor, INT32_MAX);
  }
}

}  // namespace
}  // namespace hashevict
