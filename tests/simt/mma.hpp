// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace hashevict::simt {

/// What one lane brings to mma(): its part of three matrices.
struct MmaOperands {
  float* c = nullptr;           ///< [4]
  const uint32_t* a = nullptr;  ///< [4]
  const uint32_t* b = nullptr;  ///< [2]
  bool is_bfloat = false;
};

/// c += a b, for a warp. Sums lose what the poorest tensor cores lose, so that what holds here holds on a device: each
/// addend is cut off below the 24th bit of the largest one, and so is the result.
void multiply_tiles(const std::array<MmaOperands, 32>& lanes);

}  // namespace hashevict::simt
