// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

namespace hashevict::engine {
namespace {

const std::vector<float> kLogits = {0.0F, std::log(2.0F), std::log(4.0F), std::log(1.0F), std::log(8.0F)};  // of 16

std::vector<double> frequencies(const SamplingOptions& options, int draws) {
  Sampler sampler(options);
  std::vector<double> result(kLogits.size());
  for (int i = 0; i < draws; ++i) result[static_cast<std::size_t>(sampler.sample(kLogits))] += 1.0 / draws;
  return result;
}

TEST(Sampler, GreedyTakesTheSmallestOfTheMostLikely) {
  EXPECT_EQ(greedy(std::vector<float>{1, 3, 2, 3}), 1);
  EXPECT_EQ(Sampler({}).sample(std::vector<float>{1, 3, 2, 3}), 1);
}

TEST(Sampler, TemperatureOneDrawsTheModelsProbabilities) {
  const std::vector<double> drawn = frequencies({.temperature = 1, .seed = 4}, 40000);
  const double expected[] = {1. / 16, 2. / 16, 4. / 16, 1. / 16, 8. / 16};
  // Five standard errors of a frequency near one half.
  for (std::size_t i = 0; i < drawn.size(); ++i) EXPECT_NEAR(drawn[i], expected[i], 5 * 0.5 / std::sqrt(40000.0));
}

TEST(Sampler, LowTemperatureSharpens) {
  const std::vector<double> drawn = frequencies({.temperature = 0.5F, .seed = 4}, 20000);
  EXPECT_NEAR(drawn[4], 64.0 / (1 + 4 + 16 + 1 + 64), 5 * 0.5 / std::sqrt(20000.0));
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  const std::vector<double> drawn = frequencies({.temperature = 1, .top_k = 2, .seed = 4}, 20000);
  EXPECT_EQ(drawn[0] + drawn[1] + drawn[3], 0);
  EXPECT_NEAR(drawn[4], 8.0 / 12, 5 * 0.5 / std::sqrt(20000.0));
  EXPECT_NEAR(frequencies({.temperature = 1, .top_k = 1}, 100)[4], 1.0, 1e-9);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const std::vector<double> drawn = frequencies({.temperature = 1, .top_p = 0.7F, .seed = 4}, 20000);
  EXPECT_EQ(drawn[0] + drawn[1] + drawn[3], 0);
  EXPECT_GT(drawn[2], 0);
  EXPECT_NEAR(frequencies({.temperature = 1, .top_p = 0.01F}, 100)[4], 1.0, 1e-9);
}

TEST(Sampler, SameSeedGivesSameTokens) {
  const auto draw = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(kLogits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, LogitThatIsNotFiniteIsRefused) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    const std::vector<float> logits = {0.0F, bad, 1.0F};
    EXPECT_THROW(Sampler({.temperature = 1}).sample(logits), Error);
    EXPECT_THROW(Sampler({}).sample(logits), Error);
    EXPECT_THROW(greedy(logits), Error);
    EXPECT_THROW(negative_log_likelihood(logits, 2), Error);
  }
}

TEST(Sampler, OptionsOutOfRangeAreRefused) {
  for (const SamplingOptions& options :
       {SamplingOptions{.temperature = -1}, SamplingOptions{.temperature = NAN},
        SamplingOptions{.temperature = INFINITY}, SamplingOptions{.top_k = -1}, SamplingOptions{.top_p = 0},
        SamplingOptions{.top_p = 1.5F}, SamplingOptions{.top_p = NAN}}) {
    EXPECT_THROW(Sampler{options}, Error);
  }
}

TEST(Sampler, NegativeLogLikelihoodIsInNats) {
  EXPECT_NEAR(negative_log_likelihood(kLogits, 4), std::log(2.0), 1e-6);
  EXPECT_NEAR(negative_log_likelihood(kLogits, 0), std::log(16.0), 1e-6);
  EXPECT_NEAR(negative_log_likelihood(std::vector<float>{1000, 0}, 1), 1000, 1e-6);
  EXPECT_THROW(negative_log_likelihood(kLogits, 5), Error);
  EXPECT_THROW(negative_log_likelihood(kLogits, -1), Error);
}

}  // namespace
}  // namespace hashevict::engine
