// SPDX-License-Identifier: Apache-2.0
#include "eval/continuation.hpp"

#include <gtest/gtest.h>

namespace hashevict::eval {
namespace {

TEST(Continuation, CountsLeadingBytesThatAgree) {
  ContinuationStudy study;
  for (const char* text : {"abcdef", "abcxef", "abcdef", "xbcdef", "abc"}) {
    study.policies.push_back({});
    study.policies.back().text = text;
  }
  compare_with_first(study);
  std::vector<size_t> same;
  for (const Continuation& item : study.policies) same.push_back(item.same_as_full);
  EXPECT_EQ(same, (std::vector<size_t>{6, 3, 6, 0, 3}));
}

TEST(Continuation, ColumnsStandSideBySide) {
  EXPECT_EQ(side_by_side("left", "abcdefgh\nij", "right", "xy", 6),
            "left   | right\n"
            "----   | -----\n"
            "abcdef | xy\n"
            "gh     | \n"
            "ij     | \n");
}

}  // namespace
}  // namespace hashevict::eval
