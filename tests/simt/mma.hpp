// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace hashevict::simt {

/// One lane's part of the three matrices of mma().
struct MmaOperands {
  float* c = nullptr;           ///< [4]
  const uint32_t* a = nullptr;  ///< [4]
  const uint32_t* b = nullptr;  ///< [2]
  bool is_bfloat = false;
};

/// c += a b, for a warp. Sums are as inaccurate as on the least accurate tensor cores, so a bound that holds here holds
/// on every device. Each addend is truncated below the 24th bit of the largest one, and so is the result.
void multiply_tiles(const std::array<MmaOperands, 32>& lanes);

}  // namespace hashevict::simt
