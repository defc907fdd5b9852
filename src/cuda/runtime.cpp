// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "core/failure.hpp"

namespace hashevict::cuda {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // so that the next call does not report it again
  core::fail(HASHEVICT_BACKEND_ERROR, "{}: {}", call, cudaGetErrorString(error));
}

cudaStream_t as_cuda(hashevict_stream stream) {
  return static_cast<cudaStream_t>(stream);
}

}  // namespace

int32_t num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

int32_t max_shared_bytes(int32_t device) {
  int bytes = 0;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  return bytes;
}

CurrentDevice::CurrentDevice(int32_t device) {
  check(cudaGetDevice(&previous_), "cudaGetDevice");
  if (device != previous_) check(cudaSetDevice(device), "cudaSetDevice");
}

CurrentDevice::~CurrentDevice() {
  static_cast<void>(cudaSetDevice(previous_));
}

void DeviceDelete::operator()(std::byte* memory) const noexcept {
  static_cast<void>(cudaFree(memory));
}

DeviceMemory allocate(uint64_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, std::max<uint64_t>(bytes, 1));
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    core::fail(HASHEVICT_OUT_OF_MEMORY, "{} bytes of device memory: expected a smaller cache or more memory", bytes);
  }
  check(error, "cudaMalloc");
  return DeviceMemory{static_cast<std::byte*>(memory)};
}

void copy_to_host(void* host, const void* device, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, as_cuda(stream)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(as_cuda(stream)), "cudaStreamSynchronize");
}

void copy_to_device(void* device, const void* host, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, as_cuda(stream)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(as_cuda(stream)), "cudaStreamSynchronize");
}

void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, as_cuda(stream)), "cudaMemcpyAsync");
}

void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemsetAsync(device, value, bytes, as_cuda(stream)), "cudaMemsetAsync");
}

}  // namespace hashevict::cuda
