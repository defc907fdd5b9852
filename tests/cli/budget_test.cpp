// SPDX-License-Identifier: Apache-2.0
#include "cli/budget.hpp"

#include <gtest/gtest.h>

#include <hashevict/status.hpp>

namespace hashevict::cli {
namespace {

TEST(Budget, WithoutDotIsSlots) {
  EXPECT_EQ(parse_budget("154").slots_for(512), 154);
  EXPECT_EQ(parse_budget("1000").slots_for(512), 1000);
}

TEST(Budget, WithDotIsFractionRoundedDown) {
  EXPECT_EQ(parse_budget("0.3").slots_for(512), 153);
  EXPECT_EQ(parse_budget(".5").slots_for(7), 3);
  EXPECT_EQ(parse_budget("1.0").slots_for(512), 512);
}

TEST(Budget, FractionComesToOneSlotAtLeast) {
  EXPECT_EQ(parse_budget("0.001").slots_for(10), 1);
}

TEST(Budget, OfHeadsAreFoundInTheConfig) {
  Config config;
  config.shape.num_layers = config.shape.num_kv_heads = 2;
  config.shape.capacity = 9;
  EXPECT_EQ(head_capacity(config, 1, 1), 9);
  EXPECT_EQ(sum_of_slots(config, 1), 18);
  config.shape.capacities = {10, 20, 40, 30};
  EXPECT_EQ(head_capacity(config, 1, 0), 40);
  EXPECT_EQ(most_slots(config, 0), 20);
  EXPECT_EQ(most_slots(config, 1), 40);
  EXPECT_EQ(sum_of_slots(config, 1), 70);
}

TEST(Budget, CommasSeparateLayersOrHeads) {
  const std::vector<Budget> budgets = parse_budgets("10,0.5,30");
  ASSERT_EQ(budgets.size(), 3U);
  EXPECT_EQ(budgets[0].slots_for(100), 10);
  EXPECT_EQ(budgets[1].slots_for(100), 50);
  EXPECT_EQ(budgets[2].slots_for(100), 30);
  for (const char* text : {"", "10,", ",10", "10,,20", "10;20"}) EXPECT_THROW(parse_budgets(text), Error) << text;
}

TEST(Budget, RefusesWhatIsNeither) {
  for (const char* text :
       {"", "0", "-1", "1.5", "0.0", "-0.5", "nan.", "inf.", "1e2", "5x", "0.5x", " 5", "99999999999", "."}) {
    EXPECT_THROW(parse_budget(text), Error) << text;
  }
}

TEST(Zone, IsTokensOrFraction) {
  EXPECT_EQ(parse_zone("10", "recent").tokens, 10);
  EXPECT_LT(parse_zone("10", "recent").fraction, 0.0F);
  EXPECT_FLOAT_EQ(parse_zone("0.5", "recent").fraction, 0.5F);
  EXPECT_EQ(parse_zone("0", "recent").tokens, 0);
}

TEST(Zone, RefusalNamesTheOption) {
  try {
    parse_zone("1.0", "--recent");
    FAIL() << "1.0 was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("--recent = '1.0'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace hashevict::cli
