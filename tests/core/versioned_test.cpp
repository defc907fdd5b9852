// SPDX-License-Identifier: Apache-2.0
#include "core/versioned.hpp"

#include <gtest/gtest.h>

#include <array>

/// Structs that carry their size, between a caller and a library of different versions.
namespace hashevict::core {
namespace {

/// The library's version of a struct. The oldest version had the first two fields, the next one three.
struct Grown {
  std::size_t struct_size;
  int64_t first;
  int64_t second;
  int64_t third;
};
constexpr std::size_t oldest_size(const Grown* /*type*/) {
  return offsetof(Grown, first) + sizeof(int64_t);
}

/// The struct in a caller's memory, with room for a newer header's fields and for other data behind it.
struct CallersMemory {
  Grown known{0, -1, -1, -1};
  std::array<int64_t, 3> newer{-1, -1, -1};
};

constexpr std::size_t kOldest = offsetof(Grown, second);
constexpr std::size_t kMiddle = offsetof(Grown, third);

TEST(Versioned, FieldsThatAnOlderCallerLacksAreReadAsZero) {
  CallersMemory memory;
  memory.known.struct_size = kOldest;
  EXPECT_EQ(read_versioned(&memory.known, "grown").second, 0);
  memory.known.struct_size = kMiddle;
  const Grown read = read_versioned(&memory.known, "grown");
  EXPECT_EQ(read.first, -1);
  EXPECT_EQ(read.second, -1);
  EXPECT_EQ(read.third, 0);
}

TEST(Versioned, FieldsThatTheLibraryLacksMustBeZero) {
  CallersMemory memory;
  memory.known.struct_size = sizeof memory;
  EXPECT_THROW(static_cast<void>(read_versioned(&memory.known, "grown")), Failure);
  memory.newer = {};
  EXPECT_EQ(read_versioned(&memory.known, "grown").third, -1);
}

TEST(Versioned, NoFieldIsWrittenThatTheCallerLacks) {
  CallersMemory memory;
  memory.known.struct_size = kMiddle;
  write_versioned(Grown{0, 1, 2, 3}, &memory.known, "grown");
  EXPECT_EQ(memory.known.struct_size, kMiddle);
  EXPECT_EQ(memory.known.first, 1);
  EXPECT_EQ(memory.known.second, 2);
  EXPECT_EQ(memory.known.third, -1);
}

TEST(Versioned, FieldsThatTheLibraryLacksAreWrittenAsZero) {
  CallersMemory memory;
  write_sized(Grown{0, 1, 2, 3}, &memory.known, sizeof(Grown) + 2 * sizeof(int64_t), "grown");
  EXPECT_EQ(memory.known.struct_size, sizeof(Grown) + 2 * sizeof(int64_t));
  EXPECT_EQ(memory.known.third, 3);
  EXPECT_EQ(memory.newer, (std::array<int64_t, 3>{0, 0, -1}));
}

TEST(Versioned, SizesThatNoVersionHadAreRefusedAndNothingIsWritten) {
  for (const std::size_t size : {std::size_t{0}, kOldest - 1, std::size_t{65537}, SIZE_MAX}) {
    CallersMemory memory;
    EXPECT_THROW(write_sized(Grown{0, 1, 2, 3}, &memory.known, size, "grown"), Failure);
    EXPECT_EQ(memory.known.struct_size, 0U);
    EXPECT_EQ(memory.known.first, -1);
    memory.known.struct_size = size;
    EXPECT_THROW(write_versioned(Grown{0, 1, 2, 3}, &memory.known, "grown"), Failure);
    EXPECT_THROW(static_cast<void>(read_versioned(&memory.known, "grown")), Failure);
    EXPECT_EQ(memory.known.first, -1);
  }
}

}  // namespace
}  // namespace hashevict::core
