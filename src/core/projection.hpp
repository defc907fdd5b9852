// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hashevict::core {

/// The key of a projection. The projection depends on nothing else, such as the number of layers, heads or devices.
struct ProjectionKey {
  uint64_t seed;
  int32_t layer;
  int32_t kv_head;  ///< global index, or kSharedByHeads
  bool orthogonal;
};

/// Value of ProjectionKey::kv_head for a projection that all heads of a layer share.
inline constexpr int32_t kSharedByHeads = -1;

/// Draws `R` `[hash_bits, head_dim]`, row-major (algorithm.md, *Code*): Philox 4x32-10 words, two uniforms of 53 bits
/// each in (0, 1), Box-Muller in double, rounded to fp32. Orthogonal: modified Gram-Schmidt in double within blocks of
/// head_dim rows, each row scaled back to the norm it had.
std::vector<float> draw_projection(const ProjectionKey& key, int32_t hash_bits, int32_t head_dim);

/// Transposes `[rows, columns]` to `[columns, rows]`. Encoders keep one bit per lane and walk along head_dim.
void transpose(std::span<const float> source, int32_t rows, int32_t columns, float* target);

}  // namespace hashevict::core
