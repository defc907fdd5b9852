// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/tensor.hpp>
#include <vector>

namespace hashevict::eval {

/// The centre that centring `prompt` subtracts: the mean of the first `num_tokens` of a dense `x [T, heads, head_dim]`,
/// `[heads, head_dim]`. Summed as `docs/algorithm.md` defines it: in fp32, tokens in order within blocks of 256, then
/// the blocks in order, then one division.
std::vector<float> prompt_center(const Tensor& x, int64_t num_tokens);

}  // namespace hashevict::eval
