// SPDX-License-Identifier: Apache-2.0
// Footprints against the sets of bytes that they describe.
#include "core/footprint.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <random>
#include <vector>

namespace hashevict::core {
namespace {

constexpr std::size_t kRoom = 4096;
using Bytes = std::bitset<kRoom>;

/// A footprint within kRoom bytes, and its bytes.
struct Piece {
  Footprint footprint;
  Bytes bytes;
};

const std::vector<unsigned char> g_room(kRoom);

Piece piece(std::size_t offset, int64_t run, const std::array<Footprint::Axis, 3>& axes) {
  Piece result{Footprint{{"piece", ""}, g_room.data() + offset, run, axes}, {}};
  for (int64_t i = 0; i < axes[0].count; ++i) {
    for (int64_t j = 0; j < axes[1].count; ++j) {
      for (int64_t k = 0; k < axes[2].count; ++k) {
        const int64_t first = i * axes[0].stride + j * axes[1].stride + k * axes[2].stride;
        for (int64_t byte = first; byte < first + run; ++byte)
          result.bytes.set(offset + static_cast<std::size_t>(byte));
      }
    }
  }
  return result;
}

/// Strides nested in a random order, with gaps.
Piece nested_piece(std::mt19937& random) {
  std::array<Footprint::Axis, 3> axes;
  const auto run = static_cast<int64_t>(1 + random() % 4);
  int64_t span = run;
  for (Footprint::Axis& axis : axes) {
    axis = {span + static_cast<int64_t>(random() % 4), static_cast<int64_t>(1 + random() % 4)};
    span += axis.stride * (axis.count - 1);
  }
  std::shuffle(axes.begin(), axes.end(), random);
  return piece(random() % 512, run, axes);
}

TEST(Footprint, ThatCountsAsApartSharesNoByte) {
  std::mt19937 random{1};
  int apart = 0;
  for (int i = 0; i < 50000; ++i) {
    const Piece a = nested_piece(random);
    const Piece b = nested_piece(random);
    const bool says = a.footprint.apart_from(b.footprint);
    ASSERT_EQ(says, b.footprint.apart_from(a.footprint)) << "seed 1, pair " << i;
    if (!says) continue;
    ++apart;
    ASSERT_TRUE((a.bytes & b.bytes).none()) << "seed 1, pair " << i;
  }
  EXPECT_GT(apart, 1000);
}

TEST(Footprint, WithTheStridesOfAnotherIsApartExactlyIfNoByteIsShared) {
  std::mt19937 random{2};
  int interleaved = 0;
  for (int i = 0; i < 50000; ++i) {
    std::array<Footprint::Axis, 3> axes;
    int64_t span = 8;
    for (Footprint::Axis& axis : axes) {
      axis = {span + static_cast<int64_t>(random() % 9), static_cast<int64_t>(1 + random() % 4)};
      span += axis.stride * (axis.count - 1);
    }
    std::array<Footprint::Axis, 3> others = axes;  // the same strides, other extents
    for (Footprint::Axis& axis : others)
      axis.count = std::max<int64_t>(1, axis.count - static_cast<int64_t>(random() % 2));
    std::shuffle(others.begin(), others.end(), random);
    const std::size_t offset = random() % 64;
    const Piece a = piece(offset, static_cast<int64_t>(1 + random() % 8), axes);
    const Piece b = piece(offset + random() % 300, static_cast<int64_t>(1 + random() % 8), others);
    const bool shared = (a.bytes & b.bytes).any();
    ASSERT_EQ(a.footprint.apart_from(b.footprint), !shared) << "seed 2, pair " << i;
    ASSERT_EQ(b.footprint.apart_from(a.footprint), !shared) << "seed 2, pair " << i;
    const bool meet = a.footprint.first() < b.footprint.end() && b.footprint.first() < a.footprint.end();
    if (!shared && meet) ++interleaved;
  }
  EXPECT_GT(interleaved, 1000) << "too few pairs interleave for this test to mean much";
}

TEST(Footprint, OfAnAxisWithoutElementsIsEmpty) {
  const Footprint none{{"none", ""}, g_room.data(), 4, {{{4, 3}, {16, 0}, {64, 2}}}};
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(none.apart_from(none));
  EXPECT_TRUE(Footprint{}.apart_from(none));
}

TEST(Ranges, MeetWhateverLiesInOneOfThem) {
  Ranges ranges;
  const auto part = [](std::size_t first, int64_t bytes) {
    return Footprint{{"part", ""}, g_room.data() + first, bytes};
  };
  std::mt19937 random{3};
  Bytes covered;
  for (int i = 0; i < 20; ++i) {
    const std::size_t first = random() % 2000;
    const auto bytes = static_cast<int64_t>(random() % 60);
    ranges.add(part(first, bytes));
    for (std::size_t b = first; b < first + static_cast<std::size_t>(bytes); ++b) covered.set(b);
  }
  ranges.sort();
  for (std::size_t first = 0; first < 2100; ++first) {
    for (const int64_t bytes : {0, 1, 7, 100}) {
      bool expected = false;
      for (std::size_t b = first; b < first + static_cast<std::size_t>(bytes); ++b) expected = expected || covered[b];
      ASSERT_EQ(ranges.meets(part(first, bytes)), expected) << "seed 3, " << first << ", " << bytes;
    }
  }
  EXPECT_FALSE(Ranges{}.meets(part(0, 4)));
}

}  // namespace
}  // namespace hashevict::core
