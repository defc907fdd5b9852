// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <map>
#include <string>
#include <vector>

namespace hashevict::test {

/// A tensor of floats for a file.
struct FloatTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
using FloatTensors = std::map<std::string, FloatTensor>;  ///< by name

/// A tensor with one value everywhere.
FloatTensor filled(const std::vector<int64_t>& shape, float value = 0.5F);

/// Draws a profile for the shape of a config: quantiles alone, those of one head far above the others.
FloatTensors draw_profile(const Config& config, int64_t num_quantiles, uint32_t seed);

/// Writes the tensors as a safetensors file.
void write_tensors(const std::string& path, const FloatTensors& tensors);

/// Divides slots by a profile, slot by slot, without the library: each goes to the head whose next key is the most
/// important of those that have fewer than `length`.
std::vector<int32_t> divided_by_hand(const FloatTensors& profile, const Config& config, int64_t total, int32_t length,
                                     int32_t floor);

}  // namespace hashevict::test
