// SPDX-License-Identifier: Apache-2.0
#include "engine/rope.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace hashevict::engine {
namespace {

ModelConfig llama31() {
  ModelConfig config;
  config.head_dim = 128;
  config.rope_theta = 500000;
  config.rope_scaling.kind = RopeScaling::Kind::llama3;
  config.rope_scaling.factor = 8;
  return config;
}

TEST(Rope, PlainFrequenciesFallGeometrically) {
  ModelConfig config;
  config.head_dim = 64;
  const std::vector<float> frequencies = rope_frequencies(config);
  ASSERT_EQ(frequencies.size(), 32U);
  EXPECT_EQ(frequencies[0], 1.0F);
  EXPECT_FLOAT_EQ(frequencies[8], 0.1F);
  EXPECT_FLOAT_EQ(frequencies[16], 0.01F);
}

TEST(Rope, LinearScalingDividesAll) {
  ModelConfig config;
  config.head_dim = 64;
  config.rope_scaling.kind = RopeScaling::Kind::linear;
  config.rope_scaling.factor = 4;
  EXPECT_EQ(rope_frequencies(config)[0], 0.25F);
  EXPECT_FLOAT_EQ(rope_frequencies(config)[16], 0.0025F);
}

TEST(Rope, Llama3ScalingKeepsShortWavesAndSlowsLongOnes) {
  const ModelConfig scaled = llama31();
  ModelConfig plain = scaled;
  plain.rope_scaling.kind = RopeScaling::Kind::none;
  const std::vector<float> after = rope_frequencies(scaled);
  const std::vector<float> before = rope_frequencies(plain);
  for (std::size_t i = 0; i < after.size(); ++i) {
    const double wavelength = 2 * M_PI / static_cast<double>(before[i]);
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(after[i], before[i]) << i;
    } else if (wavelength > 8192.0) {
      EXPECT_FLOAT_EQ(after[i], before[i] / 8) << i;
    } else {
      EXPECT_LT(after[i], before[i]) << i;
      EXPECT_GT(after[i], before[i] / 8) << i;
    }
    if (i > 0) {
      EXPECT_LT(after[i], after[i - 1]);
    }
  }
  // Pair 32 by hand: wavelength 2 pi sqrt(500000) = 4442.9, blend (8192 / 4442.9 - 1) / 3 = 0.281277.
  EXPECT_NEAR(after[32], (0.718723 / 8 + 0.281277) / std::sqrt(500000.0), 1e-8);
}

TEST(Rope, AnglesAreThoseOfThePosition) {
  float cosine = 0;
  float sine = 0;
  rope_angles({0.5F}, 7, &cosine, &sine);
  EXPECT_FLOAT_EQ(cosine, std::cos(3.5F));
  EXPECT_FLOAT_EQ(sine, std::sin(3.5F));
}

}  // namespace
}  // namespace hashevict::engine
