// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

namespace hashevict::simt {

/// nullptr, or the runtime's message. Clears the error, which the runtime would report again at the caller's next call.
inline const char* message_of(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  static_cast<void>(cudaGetLastError());
  return cudaGetErrorString(error);
}

/// Makes a kernel ready on the current device. Asking for its attributes loads it. The limit of shared memory is the
/// same for every cache of the process, so no cache lowers another's. Static shared memory counts toward a block's
/// limit. Kernels compiled for compute_90 or later wait for the launch before them. With programmatic dependent launch
/// a launch starts while the one before ends, which saves more time than the eviction of a small step takes.
template <class Params>
Prepared prepare(void (*kernel)(Params)) {
  cudaFuncAttributes attributes{};
  int device = 0;
  int most = 0;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  const int left = most - static_cast<int>(attributes.sharedSizeBytes);
  if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, left);
  return {message_of(error), left, attributes.ptxVersion >= 90};
}

/// Puts a launch on a stream. @return nullptr, or the runtime's message
template <class Params>
const char* launch(void (*kernel)(Params), const Extents& extents, const Params& params, const Queue& queue) {
  if (extents.grid_x == 0 || extents.grid_y == 0) return nullptr;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(extents.grid_x), static_cast<unsigned>(extents.grid_y));
  config.blockDim = dim3(static_cast<unsigned>(extents.threads));
  config.dynamicSmemBytes = static_cast<size_t>(extents.shared_bytes);
  config.stream = static_cast<cudaStream_t>(queue.stream);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = queue.overlaps ? 1 : 0;
  return message_of(cudaLaunchKernelEx(&config, kernel, params));
}

}  // namespace hashevict::simt
