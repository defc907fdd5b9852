// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/clocks.hpp"
#include "kernels/detail/simt.cuh"

/// Marks in kernels, by which a build with HASHEVICT_KERNEL_CLOCKS measures phases on a device. In every other build,
/// and on the host, they are empty.
#if defined(HASHEVICT_KERNEL_CLOCKS) && defined(__CUDACC__)
#include "kernels/detail/clocks_device.cuh"
#else
namespace hashevict::kernels {

/// Every thread of a block may call them. The clock starts at the kernel's first line; a mark ends a phase and starts
/// the next one.
HASHEVICT_DEVICE void start_clock() {}
HASHEVICT_DEVICE void mark(Phase /*phase*/) {}

}  // namespace hashevict::kernels

/// Stands at the end of a launcher whose kernels have marks.
#define HASHEVICT_CLOCKS_OF(file) static_assert(true)
#endif
