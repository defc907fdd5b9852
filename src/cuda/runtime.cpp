// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>

#include "core/failure.hpp"

namespace hashevict::cuda {
namespace {

void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears the error, which the next call would report again
  core::fail(HASHEVICT_BACKEND_ERROR, "{}: {}", call, cudaGetErrorString(error));
}

cudaStream_t as_cuda(hashevict_stream stream) {
  return static_cast<cudaStream_t>(stream);
}

/// Makes a single runtime call if the strides permit one.
void copy_runs(void* target, uint64_t target_stride, const void* source, uint64_t source_stride, const Runs& runs,
               cudaMemcpyKind kind, cudaStream_t stream) {
  constexpr uint64_t kMaxPitch =
      std::numeric_limits<int32_t>::max();  // largest pitch of a 2D copy, the same on every device
  if (runs.bytes == 0) return;
  const auto copy = [&](uint64_t first, uint64_t bytes) {
    check(cudaMemcpyAsync(static_cast<std::byte*>(target) + first * target_stride,
                          static_cast<const std::byte*>(source) + first * source_stride, bytes, kind, stream),
          "cudaMemcpyAsync");
  };
  if (target_stride == runs.bytes && source_stride == runs.bytes) return copy(0, runs.bytes * runs.count);
  if (runs.count > 1 && std::max(target_stride, source_stride) <= kMaxPitch) {
    return check(cudaMemcpy2DAsync(target, target_stride, source, source_stride, runs.bytes, runs.count, kind, stream),
                 "cudaMemcpy2DAsync");
  }
  for (uint64_t run = 0; run < runs.count; ++run) copy(run, runs.bytes);
}

}  // namespace

int32_t num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

int32_t compute_capability(int32_t device) {
  int major = 0;
  int minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
  return major * 10 + minor;
}

std::string_view built_architectures() {
  return HASHEVICT_BUILT_ARCHITECTURES;
}

CurrentDevice::CurrentDevice(int32_t device) : device_{device} {
  check(cudaGetDevice(&previous_), "cudaGetDevice");
  if (device_ != previous_) check(cudaSetDevice(device_), "cudaSetDevice");
}

CurrentDevice::~CurrentDevice() {
  if (device_ != previous_) static_cast<void>(cudaSetDevice(previous_));
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

void copy_to_host(void* host, const void* device, const Runs& runs, hashevict_stream stream) {
  copy_runs(host, runs.host_stride, device, runs.memory_stride, runs, cudaMemcpyDeviceToHost, as_cuda(stream));
}

void copy_to_device(void* device, const void* host, const Runs& runs, hashevict_stream stream) {
  copy_runs(device, runs.memory_stride, host, runs.host_stride, runs, cudaMemcpyHostToDevice, as_cuda(stream));
}

void wait(hashevict_stream stream) {
  check(cudaStreamSynchronize(as_cuda(stream)), "cudaStreamSynchronize");
}

void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, as_cuda(stream)), "cudaMemcpyAsync");
}

void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream stream) {
  check(cudaMemsetAsync(device, value, bytes, as_cuda(stream)), "cudaMemsetAsync");
}

}  // namespace hashevict::cuda
