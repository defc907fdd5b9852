// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// The part of the CUDA runtime that src/cuda/runtime.cpp and kernels/detail/launch_device.cuh call. It records every
/// call and returns the values that the test has set.
namespace fake_cuda {

struct Runtime {
  std::vector<std::string> calls;  ///< `cudaSetDevice 1`
  int device = 0;                  ///< current
  int error = 0;                   ///< returned by every call except those that only read the last error
  int last_error = 0;
  int static_bytes = 0;
  int ptx_version = 90;
  std::size_t num_attributes = 0;  ///< attributes of the last launch
  unsigned cluster = 0;            ///< blocks of its clusters
  int largest_cluster = 0;         ///< that the device runs; 0: it has none
};

inline Runtime& runtime() {
  static Runtime runtime;
  return runtime;
}

inline int note(const std::string& call) {
  runtime().calls.push_back(call);
  if (runtime().error != 0) runtime().last_error = runtime().error;
  return runtime().error;
}

}  // namespace fake_cuda

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrClusterLaunch
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
using cudaStream_t = struct CUstream_st*;

inline cudaError_t cudaGetLastError() {
  const int error = fake_cuda::runtime().last_error;
  fake_cuda::runtime().last_error = 0;
  return static_cast<cudaError_t>(error);
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "invalid argument" : "another error";
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 2;
  return static_cast<cudaError_t>(fake_cuda::note("cudaGetDeviceCount"));
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = fake_cuda::runtime().device;
  return static_cast<cudaError_t>(fake_cuda::note("cudaGetDevice"));
}
inline cudaError_t cudaSetDevice(int device) {
  fake_cuda::runtime().device = device;
  return static_cast<cudaError_t>(fake_cuda::note("cudaSetDevice " + std::to_string(device)));
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 232448
           : attribute == cudaDevAttrClusterLaunch              ? (fake_cuda::runtime().largest_cluster > 0 ? 1 : 0)
           : attribute == cudaDevAttrComputeCapabilityMajor     ? 8
                                                                : 6;
  return static_cast<cudaError_t>(fake_cuda::note("cudaDeviceGetAttribute"));
}
inline cudaError_t cudaMalloc(void** /*memory*/, std::size_t bytes) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaMalloc " + std::to_string(bytes)));
}
inline cudaError_t cudaFree(void* /*memory*/) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaFree"));
}
inline cudaError_t cudaMemcpyAsync(void* /*target*/, const void* /*source*/, std::size_t bytes, cudaMemcpyKind /*kind*/,
                                   cudaStream_t /*stream*/) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaMemcpyAsync " + std::to_string(bytes)));
}
inline cudaError_t cudaMemcpy2DAsync(void* /*target*/, std::size_t target_pitch, const void* /*source*/,
                                     std::size_t source_pitch, std::size_t width, std::size_t height,
                                     cudaMemcpyKind /*kind*/, cudaStream_t /*stream*/) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaMemcpy2DAsync " + std::to_string(target_pitch) + " " +
                                                  std::to_string(source_pitch) + " " + std::to_string(width) + " " +
                                                  std::to_string(height)));
}
inline cudaError_t cudaMemsetAsync(void* /*memory*/, int /*value*/, std::size_t bytes, cudaStream_t /*stream*/) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaMemsetAsync " + std::to_string(bytes)));
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t /*stream*/) {
  return static_cast<cudaError_t>(fake_cuda::note("cudaStreamSynchronize"));
}
