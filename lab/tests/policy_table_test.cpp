// SPDX-License-Identifier: Apache-2.0
// Names of policies, and their slots for equal bytes.
#include <set>

#include "engine/refusal.hpp"
#include "eval/policy_table.hpp"

namespace hashevict::lab {
namespace {

using testing::HasSubstr;

Config shape_of(int32_t head_dim) {
  Config shape;
  shape.shape.num_layers = 1;
  shape.shape.num_qo_heads = shape.shape.num_kv_heads = 1;
  shape.shape.head_dim = head_dim;
  return shape;
}

TEST(PolicyTable, NamesAreUniqueAndComeBack) {
  std::set<std::string> names;
  for (const PolicyRow& row : policy_table()) {
    EXPECT_TRUE(names.insert(std::string(row.name)).second) << row.name;
    EXPECT_EQ(&policy_row(row.name), &row);
    EXPECT_NE(row.configure == nullptr, row.make_scorer == nullptr) << row.name;
  }
}

TEST(PolicyTable, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(engine::refusal([] { policy_row("nothing"); }, Status::invalid_argument),
              HasSubstr("'nothing' is not a policy; expected one of full"));
}

TEST(PolicyTable, WindowsAreTokensOrAShareOfTheCapacity) {
  EXPECT_EQ(policy_row("h2o").recent_window(200), 100);
  EXPECT_EQ(policy_row("snapkv").recent_window(200), 32);
  EXPECT_EQ(policy_row("snapkv").recent_window(40), 20) << "no more than half of the budget";
  EXPECT_EQ(policy_row("tova").recent_window(40), 0);
}

TEST(PolicyTable, ListsExpandGroupsOnce) {
  const std::vector<const PolicyRow*> rows = parse_policies("random,library,h2o,random");
  ASSERT_GT(rows.size(), 3U);
  EXPECT_EQ(rows.front()->name, "random");
  EXPECT_EQ(rows.back()->name, "h2o");
  EXPECT_EQ(std::set(rows.begin(), rows.end()).size(), rows.size());
  EXPECT_EQ(parse_policies("all").size(), policy_table().size());
}

TEST(Bytes, CountsCodesPositionsAndAccumulators) {
  const Config shape = shape_of(64);
  const auto bytes = [&](const char* name) { return bytes_of(policy_row(name), shape); };
  const auto slot = [&](const char* name) { return bytes(name).slot; };
  EXPECT_EQ(slot("full"), 256);
  EXPECT_EQ(slot("window"), 260);
  EXPECT_EQ(slot("random"), 260);
  EXPECT_EQ(slot("paper"), 262);
  EXPECT_EQ(slot("superseded"), 269);
  EXPECT_EQ(slot("recall"), 264);
  EXPECT_EQ(slot("key_norm"), 264);
  EXPECT_EQ(slot("h2o"), 264);
  EXPECT_EQ(slot("keydiff"), 260);
  EXPECT_EQ(bytes("keydiff").head, 256);
  EXPECT_EQ(bytes("mean").head, 256);
}

TEST(Bytes, EqualBytesBuyFewerSlotsWhereSlotsCostMore) {
  const Config shape = shape_of(64);
  const auto slots = [&](const char* name, double budget) { return slots_for(policy_row(name), budget, 1000, shape); };
  EXPECT_EQ(slots("full", 1.0), 1000);
  EXPECT_EQ(slots("random", 0.3), 76800 / 260);
  EXPECT_EQ(slots("superseded", 0.3), 76800 / 269);
  EXPECT_EQ(slots("mean", 0.3), (76800 - 256) / 268);
  EXPECT_THROW(slots("random", 0.0005), Error);
}

}  // namespace
}  // namespace hashevict::lab
