// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <hashevict/status.hpp>
#include <string>

#include "managed_memory.hpp"

namespace hashevict::cli::managed_memory {
namespace {

void check(cudaError_t error, const std::string& call) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears the error, which the next call would report again
  const Status status = error == cudaErrorMemoryAllocation ? Status::out_of_memory : Status::backend_error;
  throw Error(status, call + ": " + cudaGetErrorString(error));
}

}  // namespace

void use_device(int32_t device) {
  check(cudaSetDevice(device), "cudaSetDevice(" + std::to_string(device) + ")");
}

std::byte* allocate(uint64_t bytes) {
  void* memory = nullptr;
  check(cudaMallocManaged(&memory, bytes), "cudaMallocManaged of " + std::to_string(bytes) + " bytes");
  return static_cast<std::byte*>(memory);
}

void release(std::byte* memory) noexcept {
  static_cast<void>(cudaFree(memory));
}

void synchronize() {
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

uint64_t device_bytes(int32_t device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties(" + std::to_string(device) + ")");
  return properties.totalGlobalMem;
}

}  // namespace hashevict::cli::managed_memory
