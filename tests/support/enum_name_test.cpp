// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <hashevict/config.hpp>
#include <sstream>

#include "support/enum_name.hpp"
#include "support/test_cache.hpp"

namespace hashevict::core {
enum class Planet { mercury, venus };
}

namespace hashevict::test {
namespace {

TEST(EnumName, IsTheEnumeratorsWhereverItIsDeclared) {
  EXPECT_EQ(testing::PrintToString(Backend::automatic), "automatic");
  EXPECT_EQ(testing::PrintToString(Layout::paged), "paged");
  EXPECT_EQ(testing::PrintToString(Arrangement::padded_pages), "padded_pages");
  EXPECT_EQ(testing::PrintToString(core::Planet::venus), "venus");
}

TEST(EnumName, IsTheNumberOfAValueWithoutOne) {
  EXPECT_EQ(testing::PrintToString(static_cast<Backend>(9)), "9");
  EXPECT_EQ(testing::PrintToString(static_cast<Backend>(-1)), "-1");
  EXPECT_EQ(testing::PrintToString(static_cast<Backend>(99)), "99");
}

TEST(EnumName, StandsInStreamsOfThisNamespace) {
  std::ostringstream stream;
  stream << Tie::lowest_slot << ' ' << Operation::append;
  EXPECT_EQ(stream.str(), "lowest_slot append");
}

}  // namespace
}  // namespace hashevict::test
