// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/foreign.hpp"

namespace hashevict::test {
namespace {

__global__ void copy(const uint32_t* from, uint32_t* to, std::size_t words) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  const std::size_t first = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (std::size_t i = first; i < words; i += std::size_t{gridDim.x} * blockDim.x) to[i] = from[i];
}

}  // namespace

const char* copy_words(const void* from, void* to, std::size_t words, Foreign foreign, hashevict_stream stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(64);
  config.blockDim = dim3(256);
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = foreign == Foreign::overlapping ? 1 : 0;
  const cudaError_t error =
      cudaLaunchKernelEx(&config, copy, static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to), words);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace hashevict::test
