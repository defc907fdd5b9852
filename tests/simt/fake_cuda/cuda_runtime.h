// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda_runtime_api.h"

/// The part of the fake runtime that launches use.
struct dim3 {
  dim3() = default;
  explicit dim3(unsigned vx, unsigned vy = 1) : x{vx}, y{vy} {}
  unsigned x = 1, y = 1;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization, cudaLaunchAttributeClusterDimension };
struct cudaFuncAttributes {
  std::size_t sharedSizeBytes;
  int ptxVersion;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int programmaticStreamSerializationAllowed;
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace fake_cuda {

/// Blocks of a launch's clusters.
inline unsigned cluster_of(const cudaLaunchConfig_t& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension) return config.attrs[i].val.clusterDim.x;
  }
  return 1;
}

}  // namespace fake_cuda

template <class Params>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (* /*kernel*/)(Params)) {
  attributes->sharedSizeBytes = static_cast<std::size_t>(fake_cuda::runtime().static_bytes);
  attributes->ptxVersion = fake_cuda::runtime().ptx_version;
  return static_cast<cudaError_t>(fake_cuda::note("cudaFuncGetAttributes"));
}
template <class Params>
cudaError_t cudaFuncSetAttribute(void (* /*kernel*/)(Params), cudaFuncAttribute attribute, int value) {
  const char* const what = attribute == cudaFuncAttributeNonPortableClusterSizeAllowed ? "clusters " : "";
  return static_cast<cudaError_t>(fake_cuda::note("cudaFuncSetAttribute " + (what + std::to_string(value))));
}
/// Clusters of any size fit that the test has set.
template <class Params>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, void (* /*kernel*/)(Params),
                                           const cudaLaunchConfig_t* config) {
  const auto blocks = static_cast<int>(fake_cuda::cluster_of(*config));
  if (blocks > fake_cuda::runtime().largest_cluster) return cudaErrorInvalidValue;
  *clusters = 128 / blocks;
  return static_cast<cudaError_t>(fake_cuda::note("cudaOccupancyMaxActiveClusters " + std::to_string(blocks)));
}
template <class Params>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (* /*kernel*/)(Params),
                               const Params& /*params*/) {
  fake_cuda::runtime().num_attributes = config->numAttrs;
  fake_cuda::runtime().cluster = fake_cuda::cluster_of(*config);
  return static_cast<cudaError_t>(fake_cuda::note("cudaLaunchKernelEx"));
}
