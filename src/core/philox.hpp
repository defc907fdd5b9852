// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "core/host_device.hpp"

namespace hashevict::core {

/// Four 32-bit words: a counter or a result of Philox.
struct Words4 {
  uint32_t x, y, z, w;
};

/// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a counter-based generator.
/// Any number can be drawn by itself, whatever the number of layers, heads, sequences or devices.
HASHEVICT_HOST_DEVICE constexpr Words4 philox4x32_10(Words4 counter, uint32_t key0, uint32_t key1) {
  HASHEVICT_NO_UNROLL_ON_DEVICE
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53U} * counter.x;
    const uint64_t product1 = uint64_t{0xCD9E8D57U} * counter.z;
    counter = Words4{static_cast<uint32_t>(product1 >> 32) ^ counter.y ^ key0, static_cast<uint32_t>(product1),
                     static_cast<uint32_t>(product0 >> 32) ^ counter.w ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

}  // namespace hashevict::core
