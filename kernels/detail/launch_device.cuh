// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

namespace hashevict::simt {

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
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, params);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace hashevict::simt
