// SPDX-License-Identifier: Apache-2.0
#include "cli/decimal.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <hashevict/status.hpp>

#include "cli/budget.hpp"

namespace hashevict::cli {
namespace {

TEST(Decimal, HundredthsOfACountComeOutAsOnPaper) {
  for (int64_t hundredths = 0; hundredths <= 100; ++hundredths) {
    const std::string text = fmt::format("{}.{:02}", hundredths / 100, hundredths % 100);
    const Decimal written = Decimal::parse(text).value();
    const Decimal measured(std::stod(text));
    for (int64_t tokens = 0; tokens <= 1000; ++tokens) {
      ASSERT_EQ(written.of(tokens), hundredths * tokens / 100) << text << " of " << tokens;
      ASSERT_EQ(measured.of(tokens), hundredths * tokens / 100) << text << " of " << tokens;
    }
  }
}

TEST(Decimal, DigitsOfAnyNumberCount) {
  EXPECT_EQ(Decimal::parse("0.33333333333333333333")->of(3), 0);
  EXPECT_EQ(Decimal::parse("0.66666666666666666667")->of(3), 2);
  EXPECT_EQ(Decimal::parse("." + std::string(5000, '9'))->of(1000), 999);
  EXPECT_EQ(Decimal::parse("0." + std::string(400, '0') + "1")->of(INT32_MAX), 0);
  EXPECT_EQ(Decimal::parse("0.5")->of(int64_t{1} << 58), int64_t{1} << 57);
}

TEST(Decimal, OneIsAllOfACount) {
  for (const char* text : {"1.0", "1.", "01.000"}) EXPECT_EQ(Decimal::parse(text)->of(77), 77) << text;
}

TEST(Decimal, WhatIsNoFractionUpToOneIsNone) {
  for (const char* text : {"", ".", "1", "0", "1.01", "2.0", "-0.5", "+0.5", "0.5e0", "0.5 ", " 0.5", "0,5", "0.5.5",
                           "nan.", "11.0", "0x0.8"}) {
    EXPECT_FALSE(Decimal::parse(text).has_value()) << text;
  }
  EXPECT_THROW(Decimal(1.5), Error);
  EXPECT_THROW(Decimal(-0.5), Error);
  EXPECT_THROW(Decimal(std::nan("")), Error);
}

TEST(Decimal, ValueIsTheDoubleOfTheText) {
  EXPECT_EQ(Decimal::parse("0.29")->value(), 0.29);
  EXPECT_EQ(Decimal::parse(".7")->value(), 0.7);
  EXPECT_EQ(Decimal(1.0).value(), 1.0);
}

// The library rounds the product of a zone's fraction to fp32, and that down.
TEST(Decimal, ZonesOfHundredthsComeOutAsOnPaper) {
  for (int32_t hundredths = 0; hundredths < 100; ++hundredths) {
    const Zone zone = parse_zone(fmt::format("0.{:02}", hundredths), "zone");
    for (int32_t capacity = 1; capacity <= 1000; ++capacity) {
      const auto tokens = std::floor(static_cast<float>(static_cast<double>(zone.fraction) * capacity));
      ASSERT_EQ(static_cast<int32_t>(tokens), hundredths * capacity / 100) << hundredths << " of " << capacity;
    }
  }
}

}  // namespace
}  // namespace hashevict::cli
