// SPDX-License-Identifier: Apache-2.0
// Slots divided among heads, against the definition: one slot at a time.
#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// A problem of a few layers and heads.
struct Problem {
  int64_t layers, heads, count;  ///< count: quantiles of a head
  int32_t length, floor;
  std::vector<float> quantiles;  ///< [layers, heads, count]

  [[nodiscard]] int64_t num_heads() const { return layers * heads; }
  [[nodiscard]] Tensor tensor() const { return Tensor{quantiles.data(), {layers, heads, count}}; }
  [[nodiscard]] std::vector<int32_t> divide(int64_t total) const {
    return divide_slots(tensor(), total, length, floor);
  }
};

/// Normal quantiles, or small integers, of which many are equal.
Problem draw(uint32_t seed, bool with_ties) {
  std::mt19937 engine{seed};
  const auto number = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>{low, high}(engine);
  };
  Problem problem{number(1, 4), number(1, 4), number(2, 6), static_cast<int32_t>(number(1, 9)), 0, {}};
  problem.floor = static_cast<int32_t>(number(0, problem.length));
  std::normal_distribution<float> normal;
  for (int64_t head = 0; head < problem.num_heads(); ++head) {
    std::vector<float> row;
    for (int64_t i = 0; i < problem.count; ++i) {
      row.push_back(with_ties ? static_cast<float>(number(-1, 1)) : normal(engine));
    }
    std::sort(row.begin(), row.end());
    problem.quantiles.insert(problem.quantiles.end(), row.begin(), row.end());
  }
  return problem;
}

/// Importance of the (rank + 1)-th most important key, by the definition.
double importance(const Problem& problem, int64_t head, int32_t rank) {
  const auto entry = [&](int64_t i) {
    return static_cast<double>(problem.quantiles[static_cast<size_t>(head * problem.count + i)]);
  };
  if (problem.length == 1) return entry(problem.count - 1);
  const int64_t steps = problem.length - 1;
  const int64_t place = (steps - rank) * (problem.count - 1);
  const int64_t below = std::min(place / steps, problem.count - 2);
  const double part = static_cast<double>(place - below * steps) / static_cast<double>(steps);
  return entry(below) + (entry(below + 1) - entry(below)) * part;
}

/// One slot at a time.
std::vector<int32_t> divided_slot_by_slot(const Problem& problem, int64_t total) {
  std::vector<int32_t> capacities(static_cast<size_t>(problem.num_heads()), problem.floor);
  for (int64_t left = total - problem.num_heads() * problem.floor; left > 0; --left) {
    size_t best = capacities.size();
    for (size_t head = 0; head < capacities.size(); ++head) {
      if (capacities[head] == problem.length) continue;
      const auto next = [&](size_t h) { return importance(problem, static_cast<int64_t>(h), capacities[h]); };
      if (best == capacities.size() || next(head) > next(best)) best = head;
    }
    ++capacities[best];
  }
  return capacities;
}

/// Calls `check(problem)` with problems of every kind.
template <class Check>
void for_problems(const Check& check) {
  for (uint32_t seed = 0; seed < 120; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    check(draw(seed, seed % 2 == 0));
  }
}

TEST(DivideSlots, GiveTheNextSlotToTheMostImportantNextKey) {
  for_problems([](const Problem& problem) {
    for (int64_t total = problem.num_heads() * problem.floor; total <= problem.num_heads() * problem.length; ++total) {
      EXPECT_EQ(problem.divide(total), divided_slot_by_slot(problem, total)) << "total " << total;
    }
  });
}

TEST(DivideSlots, HaveTheirSumAndKeepFloorAndLength) {
  for_problems([](const Problem& problem) {
    for (int64_t total = problem.num_heads() * problem.floor; total <= problem.num_heads() * problem.length; ++total) {
      const std::vector<int32_t> capacities = problem.divide(total);
      ASSERT_EQ(static_cast<int64_t>(capacities.size()), problem.num_heads());
      EXPECT_EQ(std::accumulate(capacities.begin(), capacities.end(), int64_t{0}), total);
      EXPECT_THAT(capacities,
                  ::testing::Each(::testing::AllOf(::testing::Ge(problem.floor), ::testing::Le(problem.length))));
    }
  });
}

TEST(DivideSlots, TakeNoSlotBackWhenTheTotalGrows) {
  for_problems([](const Problem& problem) {
    std::vector<int32_t> before = problem.divide(problem.num_heads() * problem.floor);
    for (int64_t total = problem.num_heads() * problem.floor + 1; total <= problem.num_heads() * problem.length;
         ++total) {
      const std::vector<int32_t> now = problem.divide(total);
      for (size_t head = 0; head < now.size(); ++head) EXPECT_GE(now[head], before[head]);
      before = now;
    }
  });
}

TEST(DivideSlots, FollowTheirHeadsThroughAPermutation) {
  for (uint32_t seed = 1; seed < 120; seed += 2) {  // normal numbers, which have no ties
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Problem problem = draw(seed, false);
    std::vector<size_t> order(static_cast<size_t>(problem.num_heads()));
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937{seed});
    Problem permuted = problem;
    const auto width = static_cast<size_t>(problem.count);
    for (size_t head = 0; head < order.size(); ++head) {
      std::copy_n(&problem.quantiles[order[head] * width], width, &permuted.quantiles[head * width]);
    }
    const int64_t total = problem.num_heads() * (problem.floor + problem.length) / 2;
    const std::vector<int32_t> capacities = problem.divide(total);
    const std::vector<int32_t> moved = permuted.divide(total);
    for (size_t head = 0; head < order.size(); ++head) EXPECT_EQ(moved[head], capacities[order[head]]);
  }
}

TEST(DivideSlots, GiveEqualHeadsTheirSlotsInOrder) {
  const Problem flat{2, 2, 2, 10, 1, std::vector<float>(8, 1.0F)};
  EXPECT_EQ(flat.divide(4), (std::vector<int32_t>{1, 1, 1, 1}));
  EXPECT_EQ(flat.divide(16), (std::vector<int32_t>{10, 4, 1, 1}));
  const Problem zeros{1, 2, 2, 3, 0, {-0.0F, 0.0F, -0.0F, -0.0F}};  // equal as well
  EXPECT_EQ(zeros.divide(4), (std::vector<int32_t>{3, 1}));
}

TEST(DivideSlots, ReachTheLengthOfARealContext) {
  // Importance falls from 1 to 0 in head 0 and from 2 to 0 in head 1: above 2 / 3 lie a third and two thirds.
  const Problem problem{1, 2, 2, 131072, 16, {0.0F, 1.0F, 0.0F, 2.0F}};
  const std::vector<int32_t> capacities = problem.divide(131072);
  EXPECT_NEAR(capacities[0], 43690, 1);
  EXPECT_NEAR(capacities[1], 87382, 1);
  EXPECT_EQ(capacities[0] + capacities[1], 131072);
}

TEST(DivideSlots, ReadQuantilesThroughStrides) {
  const Problem problem = draw(7, false);
  std::vector<float> spread(problem.quantiles.size() * 3, std::numeric_limits<float>::quiet_NaN());
  for (size_t i = 0; i < problem.quantiles.size(); ++i) spread[3 * i] = problem.quantiles[i];
  const Tensor strided{spread.data(),
                       {problem.layers, problem.heads, problem.count},
                       {3 * problem.heads * problem.count, 3 * problem.count, 3}};
  const int64_t total = problem.num_heads() * (problem.floor + problem.length) / 2;
  EXPECT_EQ(divide_slots(strided, total, problem.length, problem.floor), divided_slot_by_slot(problem, total));
}

/// Arguments of one call, of which a case spoils one.
struct Arguments {
  std::vector<float> numbers = {0.0F, 1.0F, 2.0F, 0.0F, 1.0F, 2.0F};
  Tensor quantiles{numbers.data(), {1, 2, 3}};
  hashevict_tensor* given = &quantiles;
  int64_t total = 9;
  int32_t length = 8, floor = 2;
  std::vector<int32_t> capacities = {-7, -7};
  int32_t* written = capacities.data();
};

using DivideCase = Case<void (*)(Arguments&)>;
class DivideSlotsRefuse : public ::testing::TestWithParam<DivideCase> {};

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

INSTANTIATE_TEST_SUITE_P(
    Api, DivideSlotsRefuse,
    ::testing::Values(
        DivideCase{"NoTensor", [](Arguments& a) { a.given = nullptr; }, {kInvalid, {"quantiles = NULL"}}},
        DivideCase{"NoMemory", [](Arguments& a) { a.quantiles.data = nullptr; }, {kInvalid, {"quantiles = NULL"}}},
        DivideCase{"Type",
                   [](Arguments& a) { a.quantiles.dtype = HASHEVICT_FLOAT16; },
                   {kInvalid, {"quantiles.dtype = 1: expected 0"}}},
        DivideCase{"Rank", [](Arguments& a) { a.quantiles.rank = 2; }, {kInvalid, {"quantiles.rank = 2: expected 3"}}},
        DivideCase{"NoLayers",
                   [](Arguments& a) { a.quantiles.shape[0] = 0; },
                   {kInvalid, {"quantiles.shape[0] = 0: expected 1 to 65536"}}},
        DivideCase{"NoHeads",
                   [](Arguments& a) { a.quantiles.shape[1] = 0; },
                   {kInvalid, {"quantiles.shape[1] = 0: expected 1 to 16384"}}},
        DivideCase{"OneQuantile",
                   [](Arguments& a) { a.quantiles.shape[2] = 1; },
                   {kInvalid, {"quantiles.shape[2] = 1: expected 2 to 1048576"}}},
        DivideCase{"NoLength", [](Arguments& a) { a.length = 0; }, {kInvalid, {"length = 0: expected 1 to 268435456"}}},
        DivideCase{"NegativeFloor", [](Arguments& a) { a.floor = -1; }, {kInvalid, {"floor = -1: expected 0 to 8"}}},
        DivideCase{"FloorAboveTheLength",
                   [](Arguments& a) { a.floor = 9; },
                   {kInvalid, {"floor = 9: expected 0 to 8, the length"}}},
        DivideCase{"BelowTheFloors",
                   [](Arguments& a) { a.total = 3; },
                   {kInvalid, {"total_slots = 3: expected 4 to 16", "floor to length"}}},
        DivideCase{"AboveTheLengths", [](Arguments& a) { a.total = 17; }, {kInvalid, {"total_slots = 17", "4 to 16"}}},
        DivideCase{"NoResult", [](Arguments& a) { a.written = nullptr; }, {kInvalid, {"capacities = NULL"}}},
        DivideCase{"ResultOverTheQuantiles",
                   [](Arguments& a) { a.written = reinterpret_cast<int32_t*>(&a.numbers[4]); },
                   {kInvalid, {"capacities", "apart from quantiles"}}},
        DivideCase{"NotANumber",
                   [](Arguments& a) { a.numbers[3] = std::numeric_limits<float>::quiet_NaN(); },
                   {kInvalid, {"quantiles[0][1][0] = nan: expected a finite number"}}},
        DivideCase{"Descending",
                   [](Arguments& a) { a.numbers[5] = 0.5F; },
                   {kInvalid, {"quantiles[0][1][2] = 0.5: expected at least 1"}}}),
    CaseName{});

TEST_P(DivideSlotsRefuse, ByNameAndWritesNothing) {
  Arguments a;
  GetParam().action(a);
  const std::vector<std::byte> numbers = bytes_of(a.numbers.data(), a.numbers.size() * sizeof(float));
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_divide_slots(a.given, a.total, a.length, a.floor, a.written, error);
                 }),
                 GetParam().refusal);
  EXPECT_THAT(a.capacities, ::testing::Each(-7));
  EXPECT_EQ(bytes_of(a.numbers.data(), a.numbers.size() * sizeof(float)), numbers);
}

}  // namespace
}  // namespace hashevict::test
