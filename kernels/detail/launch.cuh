// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// How launchers start a kernel: on a device where nvcc compiles them, on the executor where a host compiler does.
namespace hashevict::simt {

/// Extents of a launch. One with an empty grid is not started.
struct Extents {
  int32_t grid_x;
  int32_t grid_y;
  int32_t threads;       ///< of a block
  int32_t shared_bytes;  ///< dynamic shared memory of a block
};

}  // namespace hashevict::simt

#if defined(__CUDACC__)
#include "kernels/detail/launch_device.cuh"
#else
#include <simt/launch.hpp>
#endif
