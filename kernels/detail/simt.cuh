// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"

/// The only primitives that kernels use. nvcc gets the intrinsics; a host compiler gets the same names from the
/// executor, which runs every CUDA thread as a fiber (docs/kernels.md). A kernel cannot tell which of the two it has.
namespace hashevict::simt {

inline constexpr int32_t kWarpSize = 32;
inline constexpr uint32_t kFullMask = 0xFFFFFFFFU;

/// The unit of one vector access.
struct alignas(16) Bytes16 {
  uint32_t words[4];
};

/// Every array in dynamic shared memory starts at a multiple of it.
inline constexpr int32_t kSharedAlignment = 16;

/// Bytes of dynamic shared memory that an array of `count` elements takes.
template <class T>
HASHEVICT_HOST_DEVICE constexpr int32_t shared_bytes(int32_t count) {
  const auto bytes = static_cast<int32_t>(sizeof(T)) * count;
  return (bytes + kSharedAlignment - 1) & -kSharedAlignment;
}

}  // namespace hashevict::simt

#if defined(__CUDACC__)
#include "kernels/detail/simt_device.cuh"
#else
#include <simt/host.hpp>
#endif
