// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

namespace hashevict::simt {

/// Whether the present device starts a launch while the one before it ends (programmatic dependent launch, from sm_90
/// on). It saves what lies between two launches, which is longer than a small step's eviction.
inline bool overlaps_launches() {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
}

/// Puts a launch on a stream. @return nullptr, or the runtime's message
template <class Params>
const char* launch(void (*kernel)(Params), const Extents& extents, const Params& params, void* stream) {
  if (extents.grid_x == 0 || extents.grid_y == 0) return nullptr;
  constexpr int32_t kSharedWithoutAsking = 48 * 1024;
  if (extents.shared_bytes > kSharedWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, extents.shared_bytes);
    if (error != cudaSuccess) return cudaGetErrorString(error);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(extents.grid_x), static_cast<unsigned>(extents.grid_y));
  config.blockDim = dim3(static_cast<unsigned>(extents.threads));
  config.dynamicSmemBytes = static_cast<size_t>(extents.shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = overlaps_launches() ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, params);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace hashevict::simt
