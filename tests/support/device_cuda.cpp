// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>

#include "support/device.hpp"

namespace hashevict::test::device {
namespace {

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error{cudaGetErrorString(error)};
}

}  // namespace

std::string name() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0 ? "cuda" : "";
}

std::byte* allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)));
  return static_cast<std::byte*>(memory);
}

void release(std::byte* memory) noexcept {
  static_cast<void>(cudaFree(memory));
}

void upload(const void* host, void* target, std::size_t bytes) {
  check(cudaMemcpy(target, host, bytes, cudaMemcpyHostToDevice));
  check(cudaDeviceSynchronize());  // a copy of pageable memory may still run, and not every stream waits for it
}

void download(const void* source, void* host, std::size_t bytes) {
  check(cudaDeviceSynchronize());
  check(cudaMemcpy(host, source, bytes, cudaMemcpyDeviceToHost));
}

}  // namespace hashevict::test::device
