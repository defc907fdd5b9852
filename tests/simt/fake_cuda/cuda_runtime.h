// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda_runtime_api.h"

/// The part of the fake runtime that launches use.
struct dim3 {
  dim3() = default;
  explicit dim3(unsigned vx, unsigned vy = 1) : x{vx}, y{vy} {}
  unsigned x = 1, y = 1;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization };
struct cudaFuncAttributes {
  std::size_t sharedSizeBytes;
  int ptxVersion;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

template <class Params>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (* /*kernel*/)(Params)) {
  attributes->sharedSizeBytes = static_cast<std::size_t>(fake_cuda::runtime().static_bytes);
  attributes->ptxVersion = fake_cuda::runtime().ptx_version;
  return static_cast<cudaError_t>(fake_cuda::note("cudaFuncGetAttributes"));
}
template <class Params>
cudaError_t cudaFuncSetAttribute(void (* /*kernel*/)(Params), cudaFuncAttribute /*attribute*/, int value) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaFuncSetAttribute " + std::to_string(value)));
}
template <class Params>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (* /*kernel*/)(Params),
                               const Params& /*params*/) {
  fake_cuda::runtime().num_attributes = config->numAttrs;
  return static_cast<cudaError_t>(fake_cuda::note("cudaLaunchKernelEx"));
}
