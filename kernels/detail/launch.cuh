// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/launch.hpp"

/// Launchers start a kernel through these functions: on a device if nvcc compiles them, on the executor if a host
/// compiler does.
namespace hashevict::simt {

/// Extents of a launch. A launch with an empty grid is not started.
struct Extents {
  int32_t grid_x;
  int32_t grid_y;
  int32_t threads;       ///< threads per block
  int32_t shared_bytes;  ///< dynamic shared memory of a block
  int32_t cluster = 1;   ///< blocks of a cluster; divides grid_x
};

using kernels::Clusters;
using kernels::Prepared;
using kernels::Queue;

/// The combined state of several kernels; the first error is reported.
inline Prepared all_of(std::initializer_list<Prepared> kernels) {
  Prepared all{nullptr, INT32_MAX, true, {INT32_MAX, INT32_MAX}, true};
  for (const Prepared& kernel : kernels) {
    if (all.error == nullptr) all.error = kernel.error;
    if (kernel.shared_bytes < all.shared_bytes) all.shared_bytes = kernel.shared_bytes;
    all.overlaps = all.overlaps && kernel.overlaps;
    all.clusters = kernels::fewest(all.clusters, kernel.clusters);
    all.bulk = all.bulk && kernel.bulk;
  }
  return all;
}

/// Prepares the kernels for queries of every float type.
template <class Prepare>
Prepared for_queries_of_any_type(const Prepare& prepare) {
  return all_of(
      {prepare(kernels::DType::float32), prepare(kernels::DType::float16), prepare(kernels::DType::bfloat16)});
}

}  // namespace hashevict::simt

#if defined(__CUDACC__)
#include "kernels/detail/launch_device.cuh"
#else
#include <simt/launch.hpp>
#endif
