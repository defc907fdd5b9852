// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "config.hpp"

namespace hashevict::engine {

/// Rotary frequency of each pair of elements, scaling applied: `[head_dim / 2]`. Rounded to fp32, as the training
/// frameworks do.
std::vector<float> rope_frequencies(const ModelConfig& config);

/// Computes cosines and sines of the angles at one position, `[half]` each.
void rope_angles(const std::vector<float>& frequencies, std::int32_t position, float* cosines, float* sines);

}  // namespace hashevict::engine
