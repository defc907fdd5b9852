// SPDX-License-Identifier: Apache-2.0
// The attention kernels alone, on inputs that are rare in a cache, against plain loops in double precision.
#include "attend_problem.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/enum_name.hpp"

namespace hashevict::kernels {
namespace {

class AttendKernel : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, AttendKernel, testing::Range(1U, 4U));

TEST_P(AttendKernel, SplitsAreMergedInOrderByOneBlockAndByMany) {
  for (const int32_t length : {1, 255, 256, 257, 513, 600}) {
    SCOPED_TRACE("length " + std::to_string(length));
    Problem problem;
    problem.head_dim = 24;
    problem.group_size = 2;
    problem.lengths[0] = problem.tokens_seen[0] = length;
    problem.draw(GetParam());
    problem.run_both_ways();
    problem.expect_row(0, 1, INT32_MAX);
    problem.expect_row(1, 0, INT32_MAX);
  }
}

TEST(AttendOfLongHeads, TakesSplitsInStages) {
  for (const int32_t group_size : {1, 4}) {
    Problem problem;
    problem.dtype = DType::bfloat16;
    problem.head_dim = 8;
    problem.group_size = group_size;
    problem.capacity = 8300;  // so splits have 512 slots
    problem.lengths = problem.tokens_seen = {8300, 700};
    problem.draw(1);
    problem.run_both_ways();
    problem.expect_row(1, 0, INT32_MAX);
  }
}

TEST_P(AttendKernel, EveryShapeOfLanesAndTilesAgrees) {
  for (const int32_t head_dim : {64, 72, 256}) {
    for (const int32_t group_size : {1, 2, 3, 11}) {
      SCOPED_TRACE("head_dim " + std::to_string(head_dim) + ", group_size " + std::to_string(group_size));
      Problem problem;
      problem.head_dim = head_dim;
      problem.group_size = group_size;
      problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
      problem.soft_cap = 5.0F;
      problem.draw(GetParam());
      problem.run_both_ways();
      EXPECT_EQ(problem.ran_bulk, problem.tries_bulk);
      problem.expect_row(0, 1, INT32_MAX);
      problem.expect_row(1, 0, INT32_MAX);
    }
  }
}

TEST(AttendOnTensorCores, AgreesInEveryShape) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    for (const int32_t head_dim : {64, 80, 128, 256}) {
      for (const int32_t group_size : {4, 8, 11}) {
        SCOPED_TRACE("dtype " + std::to_string(static_cast<int>(dtype)) + ", head_dim " + std::to_string(head_dim) +
                     ", group_size " + std::to_string(group_size));
        Problem problem;
        problem.dtype = dtype;
        problem.head_dim = head_dim;
        problem.group_size = group_size;
        problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
        problem.soft_cap = head_dim == 80 ? 5.0F : 0.0F;
        problem.draw(1);
        problem.run_both_ways();
        EXPECT_EQ(problem.ran_bulk, head_dim <= 128);
        problem.expect_row(0, 1, INT32_MAX);
        problem.expect_row(1, 0, INT32_MAX);
      }
    }
  }
}

class RowsThatAreNotAligned : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, RowsThatAreNotAligned,
                         testing::Values(DType::float32, DType::float16, DType::bfloat16));

TEST_P(RowsThatAreNotAligned, GiveTheSameBits) {
  Problem aligned;
  aligned.dtype = GetParam();
  aligned.draw(1);
  aligned.run(true);
  for (const int32_t gap : {3, 5}) {
    for (const int32_t lead : {0, 1}) {
      Problem other;
      other.dtype = GetParam();
      other.slot_gap = gap;
      other.lead = lead;
      other.draw(1);
      other.q = aligned.q;
      for (int32_t s = 0; s < 2; ++s) {
        for (int32_t h = 0; h < Problem::kHeads; ++h) {
          for (int32_t j = 0; j < other.capacity; ++j) {
            for (int32_t e = 0; e < other.head_dim; ++e) {
              at(other.keys, other.row_of_slot(s, h, j) + e) = at(aligned.keys, aligned.row_of_slot(s, h, j) + e);
              at(other.values, other.row_of_slot(s, h, j) + e) = at(aligned.values, aligned.row_of_slot(s, h, j) + e);
            }
          }
        }
      }
      other.run(true);
      EXPECT_FALSE(other.ran_bulk);
      EXPECT_EQ(other.out, aligned.out);
      EXPECT_EQ(other.lse, aligned.lse);
    }
  }
}

TEST_P(AttendKernel, TokensOfARowSeeWhatWasThereAndPaddingIsLeftAlone) {
  Problem problem;
  problem.head_dim = 16;
  problem.group_size = 1;
  problem.rows = {-1, 1, 0, 5};
  problem.starts = {0, 2, 2, 42, 45};  // sequence 0 has 40 queries; the last row names no sequence of the cache
  problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
  problem.draw(GetParam());
  problem.spoil_last_value(5);
  problem.run(false);
  for (const int32_t i : {0, 17, 38}) problem.expect_row(2 + i, 0, 270 - 40 + i);
  EXPECT_TRUE(std::isnan(at(problem.out, 41 * 32 + 5)));  // of the only query that sees it
  for (int32_t token = 0; token < 45; ++token) {
    const bool skipped = token < 2 || token >= 42;
    EXPECT_EQ(std::isnan(at(problem.out, token * 32)), skipped) << "token " << token;
    EXPECT_EQ(std::isnan(at(problem.lse, token * 2)), skipped) << "token " << token;
  }
}

TEST_P(AttendKernel, SeveralQueriesOfASequenceThatHasEvictedAreNotANumber) {
  for (const bool split : {false, true}) {
    Problem problem;
    problem.starts = {0, 2, 4};
    problem.tokens_seen[0] = 601;  // of sequence 0, in the second row
    problem.draw(GetParam());
    problem.run(split);
    const auto half = static_cast<std::ptrdiff_t>(problem.out.size() / 2);
    const auto is_nan = [](float x) { return std::isnan(x); };
    EXPECT_TRUE(std::none_of(problem.out.begin(), problem.out.begin() + half, is_nan));
    EXPECT_TRUE(std::all_of(problem.out.begin() + half, problem.out.end(), is_nan));
    EXPECT_TRUE(std::all_of(problem.lse.begin() + 16, problem.lse.end(), is_nan));
  }
}

TEST_P(AttendKernel, QueriesBeforeTheFirstTokenAndEmptySequencesSeeNothing) {
  Problem problem;
  problem.lengths = {0, 2};
  problem.tokens_seen = {0, 2};
  problem.starts = {0, 4, 5};
  problem.draw(GetParam());
  problem.run(false);
  for (int32_t i = 0; i < 4; ++i) problem.expect_row(i, 1, i - 2);
  problem.expect_row(4, 0, INT32_MAX);
}

TEST_P(AttendKernel, TensorCoresHideWhatIsNotToBeSeen) {
  Problem problem;
  problem.dtype = DType::bfloat16;
  problem.rows = {1, 0};
  problem.starts = {0, 2, 22};
  problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
  problem.draw(GetParam());
  at(problem.values, problem.row_of_slot(1, 0, 5) + 3) = kNaN;
  problem.spoil_last_value(5);
  problem.run(false);
  EXPECT_TRUE(std::isnan(at(problem.out, 3)));  // a single dimension
  EXPECT_FALSE(std::isnan(at(problem.out, 4)));
  for (const int32_t i : {0, 7, 18}) problem.expect_row(2 + i, 0, 270 - 20 + i);
  EXPECT_TRUE(std::isnan(at(problem.out, 21 * Problem::kHeads * 4 * 64 + 5)));
}

TEST_P(AttendKernel, NumbersBeyondTheFloatsReachTheResult) {
  Problem problem;
  problem.group_size = 1;
  problem.draw(GetParam());
  at(problem.keys, problem.row_of_slot(0, 0, 300)) = kNaN;
  at(problem.keys, problem.row_of_slot(0, 1, 300)) = std::numeric_limits<float>::infinity();
  at(problem.q, 2 * 64) = 0.0F;
  at(problem.q, 3 * 64) = -1.0F;  // a logit of -infinity: the slot has weight 0
  at(problem.values, problem.row_of_slot(1, 0, 5) + 3) = kNaN;
  problem.run_both_ways();
  EXPECT_TRUE(std::isnan(at(problem.out, 2 * 64 + 9)));
  EXPECT_TRUE(std::isnan(at(problem.lse, 2)));
  EXPECT_FALSE(std::isnan(at(problem.out, 3 * 64 + 9)));
  EXPECT_TRUE(std::isnan(at(problem.out, 3)));
  EXPECT_FALSE(std::isnan(at(problem.out, 4)));
}

}  // namespace
}  // namespace hashevict::kernels
