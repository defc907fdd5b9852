// SPDX-License-Identifier: Apache-2.0
#include "reference/projection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <hashevict/cache.hpp>
#include <numeric>

#include "reference/sequence.hpp"
#include "support/test_cache.hpp"

namespace hashevict {
namespace {

Config config_of(int32_t hash_bits, int32_t head_dim, uint64_t seed) {
  Config config = test::small_config();
  config.placement.backend = Backend::cpu;
  config.rule.hash_bits = hash_bits;
  config.shape.head_dim = head_dim;
  config.rule.seed = seed;
  return config;
}

/// The rows of every head (or of the one that all heads share), one after the other.
std::vector<float> drawn(const Config& config, int32_t layer = 0) {
  const Cache cache{config};
  const int64_t heads = config.rule.projection_per_head ? config.shape.num_kv_heads : 1;
  std::vector<float> rows(static_cast<std::size_t>(heads * config.rule.hash_bits * config.shape.head_dim));
  const Tensor tensor = config.rule.projection_per_head
                            ? Tensor{rows.data(), {heads, config.rule.hash_bits, config.shape.head_dim}}
                            : Tensor{rows.data(), {config.rule.hash_bits, config.shape.head_dim}};
  cache.get_projection(layer, tensor);
  return rows;
}

std::vector<float> flat(const reference::Projection& projection) {
  std::vector<float> elements;
  for (const reference::Vector& row : projection) elements.insert(elements.end(), row.begin(), row.end());
  return elements;
}

double dot(const std::vector<float>& m, std::size_t a, std::size_t b, std::size_t dim) {
  double sum = 0.0;
  for (std::size_t e = 0; e < dim; ++e)
    sum += static_cast<double>(m[a * dim + e]) * static_cast<double>(m[b * dim + e]);
  return sum;
}

TEST(Projection, EveryShapeGivesTheOraclesEntries) {
  for (const int32_t bits : {8, 16, 32, 64, 128}) {
    for (const int32_t dim : {8, 24, 80, 128, 256}) {
      SCOPED_TRACE(testing::Message() << "hash_bits " << bits << ", head_dim " << dim);
      EXPECT_EQ(drawn(config_of(bits, dim, 7)),
                flat(reference::gaussian_projection(7, 0, reference::kAllHeads, static_cast<std::size_t>(bits),
                                                    static_cast<std::size_t>(dim))));
    }
  }
}

TEST(Projection, BothHalvesOfTheSeedAndTheLayerGiveTheOraclesEntries) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    Config config = config_of(16, 16, seed);
    config.shape.num_layers = 3;
    for (const int32_t layer : {0, 1, 2}) {
      EXPECT_EQ(drawn(config, layer),
                flat(reference::gaussian_projection(seed, static_cast<uint32_t>(layer), reference::kAllHeads, 16, 16)));
    }
  }
}

TEST(Projection, HeadsOfTheirOwnAreKeyedByTheGlobalIndex) {
  Config config = config_of(16, 16, 9);
  config.rule.projection_per_head = true;
  config.shape.kv_head_offset = 5;
  std::vector<float> expected = flat(reference::gaussian_projection(9, 0, 5, 16, 16));
  const std::vector<float> second = flat(reference::gaussian_projection(9, 0, 6, 16, 16));
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(drawn(config), expected);
}

TEST(Projection, NothingButSeedAndLayerMatters) {
  const Config config = config_of(32, 16, 10);
  Config other = config;
  other.shape.num_layers = 4;
  other.shape.num_sequences = 3;
  other.shape.num_kv_heads = 4;
  other.shape.kv_head_offset = 8;
  other.shape.capacity = 99;
  other.rule.policy = Policy::superseded;
  EXPECT_EQ(drawn(other), drawn(config));
  EXPECT_NE(drawn(other, 1), drawn(config));
}

TEST(Projection, MoreBitsBeginWithTheRowsOfFewer) {
  std::vector<float> longer = drawn(config_of(64, 24, 11));
  longer.resize(std::size_t{16} * 24);
  EXPECT_EQ(drawn(config_of(16, 24, 11)), longer);
}

TEST(Projection, EntriesAreStandardNormal) {
  // 128 x 256 = 32768 entries: the mean is off by 1/181 = 0.0055, the variance by 0.0078, the fourth moment by 0.054
  // (one standard deviation each); bounds are four of them.
  const std::vector<float> entries = drawn(config_of(128, 256, 12));
  const auto n = static_cast<double>(entries.size());
  double first = 0.0;
  double second = 0.0;
  double fourth = 0.0;
  double lag = 0.0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto x = static_cast<double>(entries[i]);
    first += x / n;
    second += x * x / n;
    fourth += x * x * x * x / n;
    lag += x * static_cast<double>(entries[(i + 1) % entries.size()]) / n;
  }
  EXPECT_NEAR(first, 0.0, 0.022);
  EXPECT_NEAR(second, 1.0, 0.031);
  EXPECT_NEAR(fourth, 3.0, 0.22);
  EXPECT_NEAR(lag, 0.0, 0.022);  // the two halves of a Box-Muller pair are independent
  EXPECT_GT(*std::max_element(entries.begin(), entries.end()), 3.5F);
  EXPECT_LT(*std::min_element(entries.begin(), entries.end()), -3.5F);
}

TEST(Projection, EntriesFollowTheNormalDistribution) {
  // Kolmogorov-Smirnov: the largest gap between the empirical and the normal distribution exceeds 1.95 / sqrt(n) once
  // in a thousand draws. The draw here is fixed.
  std::vector<float> entries = drawn(config_of(128, 128, 13));
  std::sort(entries.begin(), entries.end());
  const auto n = static_cast<double>(entries.size());
  double gap = 0.0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const double expected = 0.5 * std::erfc(-static_cast<double>(entries[i]) / std::sqrt(2.0));
    gap = std::max(
        {gap, std::abs(static_cast<double>(i) / n - expected), std::abs(static_cast<double>(i + 1) / n - expected)});
  }
  EXPECT_LT(gap, 1.95 / std::sqrt(n));
}

TEST(Projection, CodeDistanceEstimatesTheAngle) {
  // Two vectors at angle a differ in each bit with probability a / pi: here 1/3, so 128 +- 9.2 of 384 bits.
  std::size_t differing = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const reference::Projection projection = reference::gaussian_projection(seed, 0, reference::kAllHeads, 128, 64);
    reference::Vector a(64, 0.0F);
    reference::Vector b(64, 0.0F);
    a[0] = 1.0F;
    b[0] = 0.5F;
    b[1] = std::sqrt(0.75F);
    const reference::Vector zero(64, 0.0F);
    differing +=
        reference::hamming_distance(reference::encode(projection, a, zero), reference::encode(projection, b, zero));
  }
  EXPECT_NEAR(static_cast<double>(differing), 128.0, 4 * 9.2);
}

TEST(Projection, OrthogonalRowsGiveTheOraclesEntries) {
  for (const int32_t bits : {8, 16, 64, 128}) {
    for (const int32_t dim : {8, 24, 128}) {
      SCOPED_TRACE(testing::Message() << "hash_bits " << bits << ", head_dim " << dim);
      Config config = config_of(bits, dim, 14);
      config.rule.projection_kind = ProjectionKind::orthogonal;
      const auto gaussian = reference::gaussian_projection(14, 0, reference::kAllHeads, static_cast<std::size_t>(bits),
                                                           static_cast<std::size_t>(dim));
      EXPECT_EQ(drawn(config), flat(reference::orthogonalized(gaussian)));
    }
  }
}

TEST(Projection, OrthogonalRowsAreOrthogonalWithinBlocksAndKeepTheirNorms) {
  Config config = config_of(64, 24, 15);
  const std::vector<float> gaussian = drawn(config);
  config.rule.projection_kind = ProjectionKind::orthogonal;
  const std::vector<float> rows = drawn(config);
  for (std::size_t i = 0; i < 64; ++i) {
    const double norm = dot(rows, i, i, 24);
    EXPECT_NEAR(norm, dot(gaussian, i, i, 24), 1e-5 * norm) << "row " << i;
    for (std::size_t j = i / 24 * 24; j < i; ++j) {
      EXPECT_NEAR(dot(rows, i, j, 24), 0.0, 1e-5 * norm) << "rows " << i << " and " << j;
    }
  }
}

TEST(Projection, WhatWasSetIsWhatIsGot) {
  Config config = config_of(16, 16, 16);
  config.shape.num_layers = 2;
  Cache cache{config};
  std::vector<float> mine(256);
  std::iota(mine.begin(), mine.end(), -128.0F);
  cache.set_projection(1, Tensor{mine.data(), {16, 16}});
  std::vector<float> got(256);
  cache.get_projection(1, Tensor{got.data(), {16, 16}});
  EXPECT_EQ(got, mine);
  cache.get_projection(0, Tensor{got.data(), {16, 16}});
  EXPECT_EQ(got, drawn(config));
}

}  // namespace
}  // namespace hashevict
