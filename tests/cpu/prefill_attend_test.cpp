// SPDX-License-Identifier: Apache-2.0
// The attention of a tile of a prompt, block by block, against exact arithmetic.
#include "cpu/prefill_attend_kernel.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "each_target.hpp"

namespace hashevict::cpu {
namespace {

class PromptKernel : public EachTarget {};
HASHEVICT_FOR_EACH_TARGET(PromptKernel);

constexpr int32_t kForever = INT32_MAX;

/// Zeroed memory as a worker's scratch has it.
class Part {
 public:
  explicit Part(int64_t elements) : memory_(static_cast<std::size_t>(elements) + 16) {}
  [[nodiscard]] float* floats() {
    const auto misaligned = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(float) % 16;
    return memory_.data() + (16 - misaligned) % 16;
  }

 private:
  std::vector<float> memory_;
};

/// A tile of `tokens` tokens with random queries, and random keys with lives.
struct Problem {
  int32_t tokens, group, head_dim, num_keys;
  float soft_cap = 0;
  std::vector<float> queries, keys, values;
  std::vector<int32_t> births, deaths;

  Problem(int32_t tokens_, int32_t group_, int32_t head_dim_, int32_t num_keys_, uint32_t seed)
      : tokens{tokens_}, group{group_}, head_dim{head_dim_}, num_keys{num_keys_} {
    std::mt19937 random{seed};
    std::normal_distribution<float> normal;
    const auto numbers = [&](int32_t rows) {
      std::vector<float> result(static_cast<std::size_t>(rows) * static_cast<std::size_t>(head_dim));
      for (float& x : result) x = normal(random);
      return result;
    };
    queries = numbers(tokens * group);
    for (float& x : queries) x /= std::sqrt(static_cast<float>(head_dim));
    keys = numbers(num_keys);
    values = numbers(num_keys);
    for (int32_t key = 0; key < num_keys; ++key) {
      const auto token = [&] { return static_cast<int32_t>(random() % static_cast<uint32_t>(tokens)); };
      const bool old = random() % 2 == 0;
      births.push_back(old ? 0 : token());
      deaths.push_back(random() % 3 != 0 ? kForever : births.back() + token());
    }
  }

  [[nodiscard]] bool sees(int32_t query, int32_t key) const {
    const auto k = static_cast<std::size_t>(key);
    return births[k] <= query / group && query / group < deaths[k];
  }

  struct Result {
    std::vector<float> out, lse;
  };

  [[nodiscard]] Result run() const {
    const int32_t num_queries = tokens * group;
    const int64_t padded = core::round_up(num_queries, kPromptQueryStep);
    Part packed{padded * head_dim}, sums{padded * head_dim}, maxima{padded}, weights{padded}, token_of{padded},
        logits{int64_t{kPromptKeys} * kPromptQueryStep};
    const PromptTile tile{.num_queries = num_queries,
                          .group = group,
                          .head_dim = head_dim,
                          .logit_soft_cap = soft_cap,
                          .queries = packed.floats(),
                          .sums = sums.floats(),
                          .maxima = maxima.floats(),
                          .weights = weights.floats(),
                          .tokens = reinterpret_cast<int32_t*>(token_of.floats()),
                          .logits = logits.floats()};
    start_prompt_tile(tile, queries.data());
    for (int32_t first = 0; first < num_keys; first += kPromptKeys) {
      const int32_t count = std::min(kPromptKeys, num_keys - first);
      std::vector<const float*> key_rows, value_rows;
      for (int32_t i = 0; i < kPromptKeys; ++i) {
        const auto at = static_cast<std::ptrdiff_t>(first + std::min(i, count - 1)) * head_dim;
        key_rows.push_back(keys.data() + at);
        value_rows.push_back(values.data() + at);
      }
      add_prompt_block(tile, {count, key_rows.data(), value_rows.data(), births.data() + first, deaths.data() + first});
    }
    Result result;
    result.out.resize(static_cast<std::size_t>(num_queries * head_dim));
    result.lse.resize(static_cast<std::size_t>(num_queries));
    finish_prompt_tile(tile, result.out.data(), result.lse.data());
    return result;
  }

  /// Expects a query's results to be within rounding error of those over the keys that it sees.
  void expect_accurate(const Result& result, int32_t query) const {
    const auto row = [&](const std::vector<float>& rows, int32_t i) {
      return rows.data() + static_cast<std::ptrdiff_t>(i) * head_dim;
    };
    std::vector<double> logits, out(static_cast<std::size_t>(head_dim));
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int32_t key = 0; key < num_keys; ++key) {
      double logit = 0;
      for (int32_t e = 0; e < head_dim; ++e) logit += double{row(queries, query)[e]} * double{row(keys, key)[e]};
      if (soft_cap != 0) logit = soft_cap * std::tanh(logit / soft_cap);
      logits.push_back(sees(query, key) ? logit : -std::numeric_limits<double>::infinity());
      largest = std::max(largest, logits.back());
    }
    for (int32_t key = 0; key < num_keys; ++key) {
      if (!sees(query, key)) continue;
      const double weight = std::exp(logits[static_cast<std::size_t>(key)] - largest);
      sum += weight;
      for (int32_t e = 0; e < head_dim; ++e) {
        out[static_cast<std::size_t>(e)] += weight * static_cast<double>(row(values, key)[e]);
      }
    }
    const float lse = result.lse[static_cast<std::size_t>(query)];
    if (sum == 0) {
      EXPECT_EQ(lse, -std::numeric_limits<float>::infinity());
    } else {
      EXPECT_NEAR(static_cast<double>(lse), largest + std::log(sum), 3e-6);
    }
    for (int32_t e = 0; e < head_dim; ++e) {
      const double expected = sum == 0 ? 0 : out[static_cast<std::size_t>(e)] / sum;
      ASSERT_NEAR(static_cast<double>(row(result.out, query)[e]), expected, 3e-6) << "query " << query << " at " << e;
    }
  }
};

TEST_P(PromptKernel, IsWithinTheBoundForEveryShape) {
  uint32_t seed = 1;
  for (const int32_t group : {1, 3, 4, 8}) {
    for (const int32_t tokens : {1, 7, prompt_tile_tokens(group)}) {
      for (const int32_t head_dim : {8, 24, 64, 136}) {
        for (const int32_t keys : {1, 3, 63, 64, 65, 200}) {
          SCOPED_TRACE(testing::Message() << "group " << group << ", " << tokens << " tokens, head_dim " << head_dim
                                          << ", " << keys << " keys, seed " << seed);
          const Problem problem{tokens, group, head_dim, keys, seed++};
          const Problem::Result result = problem.run();
          for (int32_t query = 0; query < tokens * group; ++query) problem.expect_accurate(result, query);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(PromptKernel, BendsLogitsByTheSoftCap) {
  Problem problem{20, 2, 16, 150, 7};
  problem.soft_cap = 0.7F;
  const Problem::Result result = problem.run();
  for (int32_t query = 0; query < 40; ++query) problem.expect_accurate(result, query);
}

TEST_P(PromptKernel, KeysOutOfSightMayHoldAnything) {
  const Problem clean{30, 3, 24, 140, 8};
  Problem dirty = clean;
  const Problem::Result expected = clean.run();
  for (const int32_t key : {1, 70, 139}) {
    dirty.keys[static_cast<std::size_t>(key * 24 + 5)] = std::numeric_limits<float>::quiet_NaN();
    dirty.values[static_cast<std::size_t>(key * 24 + 7)] = std::numeric_limits<float>::infinity();
  }
  const Problem::Result result = dirty.run();
  int untouched = 0;
  for (int32_t query = 0; query < 90; ++query) {
    const bool spoilt = clean.sees(query, 1) || clean.sees(query, 70) || clean.sees(query, 139);
    untouched += spoilt ? 0 : 1;
    for (std::size_t e = static_cast<std::size_t>(query) * 24; e < static_cast<std::size_t>(query + 1) * 24; ++e) {
      if (spoilt) {
        EXPECT_TRUE(std::isnan(result.out[e])) << "query " << query;
      } else {
        EXPECT_EQ(result.out[e], expected.out[e]) << "query " << query;
      }
    }
  }
  EXPECT_GT(untouched, 0) << "another seed is needed";
}

TEST_P(PromptKernel, AQueryWithoutKeysGivesZeros) {
  Problem problem{4, 1, 8, 3, 9};
  problem.births = {2, 2, 3};
  problem.deaths = {kForever, 3, kForever};
  const Problem::Result result = problem.run();
  for (int32_t query = 0; query < 4; ++query) problem.expect_accurate(result, query);
  EXPECT_EQ(result.lse[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(result.out[0], 0.0F);
}

}  // namespace
}  // namespace hashevict::cpu
