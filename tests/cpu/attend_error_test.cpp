// SPDX-License-Identifier: Apache-2.0
// Bounds the error of attention against exact arithmetic, and checks results of infinities and NaN.
#include <cmath>
#include <limits>

#include "attend_problem.hpp"
#include "cpu/workspace.hpp"
#include "each_target.hpp"

namespace hashevict::cpu {
namespace {

using core::DType;

constexpr int32_t kLengths[] = {0, 1, 63, 64, 65, 200, kSplitSlots};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class AttendError : public EachTarget {};
HASHEVICT_FOR_EACH_TARGET(AttendError);

/// Each dtype with each head_dim and each length. The number of queries varies along the way, and so does the dtype
/// that gets a whole split.
TEST_P(AttendError, IsWithinTheBoundForEveryShape) {
  uint32_t seed = 1;
  for (const auto& [dtype, multiply] : kTypes) {
    for (int32_t head_dim = 8; head_dim <= 256; head_dim += 8) {
      for (const int32_t length : kLengths) {
        if (length == kSplitSlots && head_dim / 8 % 3 != static_cast<int32_t>(dtype)) continue;
        const auto num_queries = static_cast<int32_t>(1 + seed % 9);
        const AttendProblem problem({.dtype = dtype,
                                     .multiply_bfloat = multiply,
                                     .head_dim = head_dim,
                                     .num_queries = num_queries,
                                     .length = length},
                                    ++seed);
        SCOPED_TRACE(testing::Message() << testing::PrintToString(dtype) << (multiply ? " times bf16" : "")
                                        << " head_dim " << head_dim << " num_queries " << num_queries << " length "
                                        << length);
        problem.expect_accurate(problem.run());
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(AttendError, IsWithinTheBoundForEveryNumberOfQueries) {
  for (const bool multiply : {false, true}) {
    for (const int32_t num_queries : {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 70}) {
      const AttendProblem problem({.dtype = DType::bfloat16,
                                   .multiply_bfloat = multiply,
                                   .head_dim = 72,
                                   .num_queries = num_queries,
                                   .length = 200},
                                  7);
      problem.expect_accurate(problem.run());
    }
  }
}

TEST_P(AttendError, IsWithinTheBoundOverManySplits) {
  const AttendProblem problem({.dtype = DType::float16, .head_dim = 128, .num_queries = 4, .length = 5000}, 8);
  problem.expect_accurate(problem.run());
  problem.expect_accurate(problem.run(100));
}

/// Equal keys and values: all terms of a sum are equal, so roundings do not cancel.
TEST_P(AttendError, StaysSmallWhenAllRoundingsAgree) {
  for (const int32_t length : {64, 1000, 1024, 4096}) {
    AttendProblem problem({.head_dim = 16, .length = length}, 9);
    for (int32_t slot = 0; slot < length; ++slot) {
      for (int32_t dim = 0; dim < 16; ++dim) {
        problem.set_key(slot, dim, 0.3f);
        problem.set_value(slot, dim, 0.1f + 0.01f * static_cast<float>(dim));
      }
    }
    problem.expect_accurate(problem.run());
  }
}

TEST_P(AttendError, IsWithinTheBoundWithSoftCap) {
  for (const float cap : {0.5f, 5.0f, 50.0f}) {
    AttendProblem problem({.dtype = DType::bfloat16,
                           .multiply_bfloat = cap == 5.0f,
                           .head_dim = 64,
                           .num_queries = 3,
                           .length = 300,
                           .key_scale = 4},
                          10);
    problem.logit_soft_cap = cap;
    problem.expect_accurate(problem.run());
  }
}

TEST_P(AttendError, IsWithinTheBoundForLogitsOfTenThousands) {
  for (const bool multiply : {false, true}) {
    const AttendProblem problem({.dtype = DType::bfloat16,
                                 .multiply_bfloat = multiply,
                                 .head_dim = 128,
                                 .num_queries = 4,
                                 .length = 500,
                                 .key_scale = 1e4f},
                                11);
    const AttendProblem::Result result = problem.run();
    problem.expect_accurate(result);
    float largest = 0;
    for (const float lse : result.lse) largest = std::max(largest, std::abs(lse));
    EXPECT_GT(largest, 1e4f);
  }
}

TEST_P(AttendError, NanInAKeyOrValueGivesNan) {
  AttendProblem problem({.head_dim = 24, .num_queries = 5, .length = 150}, 12);
  AttendProblem with_key = problem;
  with_key.set_key(70, 9, std::numeric_limits<float>::quiet_NaN());
  const AttendProblem::Result keys = with_key.run(100);
  for (const float element : keys.out) EXPECT_TRUE(std::isnan(element));
  for (const float lse : keys.lse) EXPECT_TRUE(std::isnan(lse));
  problem.set_value(70, 9, std::numeric_limits<float>::quiet_NaN());
  const AttendProblem::Result values = problem.run(100);
  for (size_t i = 0; i < values.out.size(); ++i) EXPECT_EQ(std::isnan(values.out[i]), i % 24 == 9) << i;
  for (const float lse : values.lse) EXPECT_TRUE(std::isfinite(lse));
}

TEST_P(AttendError, InfiniteLogitGivesNan) {
  AttendProblem problem({.head_dim = 8, .length = 150}, 13);
  problem.queries.assign(8, 1.0f);
  problem.set_key(10, 3, kInfinity);
  const AttendProblem::Result result = problem.run(100);
  for (const float element : result.out) EXPECT_TRUE(std::isnan(element));
  EXPECT_TRUE(std::isnan(result.lse[0]));
}

TEST_P(AttendError, LogitOfMinusInfinityWeighsNothing) {
  AttendProblem problem({.head_dim = 8, .length = 150}, 14);
  problem.queries.assign(8, 1.0f);
  for (int32_t slot = 1; slot < 150; ++slot) problem.set_key(slot, 0, -kInfinity);
  const AttendProblem::Result result = problem.run(100);
  EXPECT_EQ(result, problem.shortened(1).run());
  problem.set_key(0, 0, -kInfinity);
  const AttendProblem::Result nothing = problem.run(100);
  for (const float element : nothing.out) EXPECT_EQ(element, 0.0f);
  EXPECT_EQ(nothing.lse[0], -kInfinity);
}

}  // namespace
}  // namespace hashevict::cpu
