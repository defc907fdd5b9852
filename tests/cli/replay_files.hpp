// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string>
#include <vector>

#include "engine/safetensors.hpp"
#include "support/inputs.hpp"

namespace hashevict::test {

/// The contents of a trace for one layer.
struct TraceData {
  Tokens tokens;
  std::vector<float> projection;         ///< `[bits, head_dim]`, one for each head with projection_per_head; or empty
  std::vector<float> center;             ///< `[num_kv_heads, head_dim]` or empty
  std::vector<float> importance_weight;  ///< `[num_kv_heads, head_dim]` and its biases `[num_kv_heads]`, or both empty
  std::vector<float> importance_bias;
};

/// The shape of the tests' traces: 2 layers, 4 query and 2 KV heads of size 16.
Config trace_config();

/// Draws random tokens for every layer.
std::vector<TraceData> draw_trace(const Config& config, std::size_t num_tokens, uint32_t seed, DType dtype,
                                  Flavour flavour = Flavour::normal);

/// Converts elements to `dtype`, as in a file.
std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype);

/// Writes a trace with the tensor names that `replay` expects, and the importances that the config's rule takes.
void write_trace(const std::string& path, const Config& config, const std::vector<TraceData>& layers, DType dtype);

}  // namespace hashevict::test
