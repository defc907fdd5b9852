// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/tensor.hpp>
#include <vector>

namespace hashevict::cli {

/// Computes the centre that centring `prompt` subtracts, `[heads, head_dim]`: the mean of the first `num_tokens` of a
/// dense `x [T, heads, head_dim]`. `docs/algorithm.md` defines the order: fp32 sums over tokens in blocks of 256, then
/// over the blocks, then one division.
std::vector<float> prompt_center(const Tensor& x, int64_t num_tokens);

}  // namespace hashevict::cli
