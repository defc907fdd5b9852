// SPDX-License-Identifier: Apache-2.0
// Changes everything that must not affect the result of attention, and compares bit by bit.
#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "attend_problem.hpp"
#include "cpu/attend_combine.hpp"
#include "each_target.hpp"

namespace hashevict::cpu {
namespace {

using core::DType;

class AttendBits : public EachTarget {};
HASHEVICT_FOR_EACH_TARGET(AttendBits);

/// The queries of `tokens` tokens; the last one is at the last position.
void mask_causally(AttendProblem& problem, int32_t tokens) {
  problem.positions.resize(static_cast<size_t>(problem.shape.length));
  std::iota(problem.positions.begin(), problem.positions.end(), 0);
  const int32_t group = problem.shape.num_queries / tokens;
  problem.query_positions.clear();
  for (int32_t i = 0; i < problem.shape.num_queries; ++i) {
    problem.query_positions.push_back(problem.shape.length - tokens + i / group);
  }
}

TEST_P(AttendBits, AreTheSameForAQueryAloneAndAmongOthers) {
  for (const auto& [dtype, multiply] : kTypes) {
    for (const int32_t head_dim : {8, 64, 80, 120, 128}) {
      const AttendProblem problem(
          {.dtype = dtype, .multiply_bfloat = multiply, .head_dim = head_dim, .num_queries = 39, .length = 333}, 1);
      const AttendProblem::Result together = problem.run(100);
      for (const int32_t query : {0, 1, 2, 3, 4, 30, 31, 32, 36, 37, 38}) {
        EXPECT_EQ(problem.only(query).run(100), together.query(query)) << "query " << query << " dim " << head_dim;
      }
    }
  }
}

TEST_P(AttendBits, AreTheSameForEveryNumberOfOtherQueries) {
  const AttendProblem problem(
      {.dtype = DType::bfloat16, .multiply_bfloat = true, .head_dim = 72, .num_queries = 9, .length = 130}, 2);
  const AttendProblem::Result all = problem.run();
  for (int32_t count = 1; count <= 9; ++count) {
    AttendProblem fewer = problem;
    fewer.shape.num_queries = count;
    fewer.queries.resize(static_cast<size_t>(count) * 72);
    const AttendProblem::Result result = fewer.run();
    for (int32_t query = 0; query < count; ++query) EXPECT_EQ(result.query(query), all.query(query));
  }
}

TEST_P(AttendBits, AreTheSameInPages) {
  for (const auto& [dtype, multiply] : kTypes) {
    const AttendProblem::Shape shape{
        .dtype = dtype, .multiply_bfloat = multiply, .head_dim = 40, .num_queries = 5, .length = 777};
    const AttendProblem::Result strided = AttendProblem(shape, 3).run();
    for (const int32_t page_size : {1, 3, 16, 64, 1000}) {
      AttendProblem::Shape paged = shape;
      paged.page_size = page_size;
      AttendProblem problem(paged, 3);
      // Shuffling the pages consumed random numbers: give both problems the same elements.
      const AttendProblem plain(shape, 3);
      problem.copy_elements(plain);
      EXPECT_EQ(problem.run(), strided) << "page_size " << page_size;
    }
  }
}

TEST_P(AttendBits, AreTheSameWithGapsBetweenSlots) {
  const AttendProblem::Shape shape{.dtype = DType::float16, .head_dim = 56, .num_queries = 4, .length = 200};
  AttendProblem::Shape gapped = shape;
  gapped.gap = 13;
  EXPECT_EQ(AttendProblem(gapped, 4).run(), AttendProblem(shape, 4).run());
}

TEST_P(AttendBits, AreTheSameForAnyAlignmentOfScratch) {
  AttendProblem problem({.dtype = DType::bfloat16, .head_dim = 104, .num_queries = 6, .length = 100}, 5);
  const AttendProblem::Result aligned = problem.run();
  for (std::size_t shift = 1; shift < 16; ++shift) {
    problem.scratch_shift = shift;
    EXPECT_EQ(problem.run(), aligned);
  }
}

TEST_P(AttendBits, OfSeveralTokensAreThoseOfOneTokenAfterTheOther) {
  for (const auto& [dtype, multiply] : kTypes) {
    AttendProblem problem(
        {.dtype = dtype, .multiply_bfloat = multiply, .head_dim = 48, .num_queries = 70 * 3, .length = 300}, 6);
    mask_causally(problem, 70);
    const AttendProblem::Result together = problem.run(128);
    for (int32_t query = 0; query < problem.shape.num_queries; query += 11) {
      const int32_t seen = problem.query_positions[static_cast<size_t>(query)] + 1;
      EXPECT_EQ(problem.only(query).shortened(seen).run(128), together.query(query)) << query;
    }
    problem.expect_accurate(together);
  }
}

TEST_P(AttendBits, DoNotDependOnMaskedSlots) {
  for (const auto& [dtype, multiply] : kTypes) {
    AttendProblem problem(
        {.dtype = dtype, .multiply_bfloat = multiply, .head_dim = 32, .num_queries = 6, .length = 257}, 7);
    std::mt19937 random(7);
    problem.positions.resize(257);
    std::iota(problem.positions.begin(), problem.positions.end(), 0);
    std::shuffle(problem.positions.begin(), problem.positions.end(), random);
    problem.query_positions = {100, 100, 100, 100, 200, 256};
    const AttendProblem::Result before = problem.run(128);
    problem.expect_accurate(before);
    for (int32_t slot = 0; slot < 257; ++slot) {
      if (problem.positions[static_cast<size_t>(slot)] <= 200) continue;
      problem.set_key(slot, slot % 32, std::numeric_limits<float>::quiet_NaN());
      problem.set_value(slot, slot % 32, std::numeric_limits<float>::infinity());
    }
    const AttendProblem::Result after = problem.run(128);
    for (int32_t query = 0; query < 5; ++query) EXPECT_EQ(after.query(query), before.query(query)) << query;
    EXPECT_NE(after.query(5), before.query(5));
  }
}

TEST_P(AttendBits, OfAQueryThatSeesNothingAreZero) {
  AttendProblem problem({.head_dim = 16, .num_queries = 2, .length = 100}, 8);
  problem.positions.assign(100, 50);
  problem.query_positions = {49, 50};
  const AttendProblem::Result result = problem.run(64);
  EXPECT_EQ(result.query(0),
            (AttendProblem::Result{std::vector<float>(16, 0.0f), {-std::numeric_limits<float>::infinity()}}));
  EXPECT_EQ(result.query(1), problem.only(1).run(64));
}

TEST_P(AttendBits, AreTheSameWithoutLse) {
  const float partials[] = {1, 2, 3, 4, 5, 6, 7, 8, 0.5f, 2,  //
                            8, 7, 6, 5, 4, 3, 2, 1, 1.5f, 3};
  float with_lse[8], without[8], lse = 0;
  combine_splits(partials, 2, 1, 8, with_lse, &lse);
  combine_splits(partials, 2, 1, 8, without, nullptr);
  EXPECT_TRUE(std::equal(with_lse, with_lse + 8, without));
}

}  // namespace
}  // namespace hashevict::cpu
