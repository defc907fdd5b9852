// SPDX-License-Identifier: Apache-2.0
#include "rope.hpp"

#include <cmath>
#include <numbers>

namespace hashevict::engine {
namespace {

// Llama 3: divides low frequencies by the factor, keeps high ones, and blends those between.
float llama3_frequency(float frequency, const RopeScaling& scaling) {
  const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
  const auto context = static_cast<float>(scaling.original_max_position_embeddings);
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const float blend =
      (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const ModelConfig& config) {
  std::vector<float> frequencies(static_cast<std::size_t>(config.head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / config.head_dim;
    const auto frequency = static_cast<float>(std::pow(static_cast<double>(config.rope_theta), -exponent));
    switch (config.rope_scaling.kind) {
      case RopeScaling::Kind::none:
        frequencies[i] = frequency;
        break;
      case RopeScaling::Kind::linear:
        frequencies[i] = frequency / config.rope_scaling.factor;
        break;
      case RopeScaling::Kind::llama3:
        frequencies[i] = llama3_frequency(frequency, config.rope_scaling);
        break;
    }
  }
  return frequencies;
}

void rope_angles(const std::vector<float>& frequencies, std::int32_t position, float* cosines, float* sines) {
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    cosines[i] = std::cos(angle);
    sines[i] = std::sin(angle);
  }
}

}  // namespace hashevict::engine
