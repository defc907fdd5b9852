// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string>
#include <vector>

#include "engine/safetensors.hpp"
#include "support/inputs.hpp"

namespace hashevict::test {

/// What a trace holds of one layer.
struct TraceData {
  Tokens tokens;
  std::vector<float> projection;  ///< `[bits, head_dim]`, with projection_per_head a head's after the other's; or empty
  std::vector<float> center;      ///< `[num_kv_heads, head_dim]` or empty
};

/// The shape of the traces that tests make: 2 layers, 4 query and 2 KV heads of size 16.
Config trace_config();

/// Random tokens for every layer.
std::vector<TraceData> draw_trace(const Config& config, std::size_t num_tokens, uint32_t seed, DType dtype,
                                  Flavour flavour = Flavour::normal);

/// The elements in `dtype`, as a file holds them.
std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype);

/// Writes a trace whose tensors are called as `replay` expects.
void write_trace(const std::string& path, const Config& config, const std::vector<TraceData>& layers, DType dtype);

}  // namespace hashevict::test
