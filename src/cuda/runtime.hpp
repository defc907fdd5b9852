// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "backend/backend.hpp"

/// The device's memory and streams without CUDA's headers. runtime.cpp calls the CUDA runtime; tests/simt/runtime.cpp
/// replaces it where kernels run on the host. Each function throws core::Failure with BACKEND_ERROR (allocate():
/// OUT_OF_MEMORY) and the runtime's message.
namespace hashevict::cuda {

/// The number of devices; 0 without a driver.
int32_t num_devices();

/// Compute capability of a device (86 means 8.6). Creates no context on it.
int32_t compute_capability(int32_t device);

/// The architectures that the kernels were compiled for, in the words of CMAKE_CUDA_ARCHITECTURES, with commas.
std::string_view built_architectures();

/// Makes a device current for the calling thread and restores the previous one at the end. If the device is already
/// current, it makes no call, since making a device current creates a context on it.
class CurrentDevice {
 public:
  explicit CurrentDevice(int32_t device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  [[maybe_unused]] int32_t device_;
  [[maybe_unused]] int32_t previous_ = 0;  // unused where the host stands in for the device
};

struct DeviceDelete {
  void operator()(std::byte* memory) const noexcept;
};
using DeviceMemory = std::unique_ptr<std::byte[], DeviceDelete>;

/// Allocates on the current device, aligned to HASHEVICT_ALIGNMENT.
DeviceMemory allocate(uint64_t bytes);

// Each works on a stream, in order with earlier work on it. Host memory must stay in place until wait().
void copy_to_host(void* host, const void* device, const Runs& runs, hashevict_stream stream);
void copy_to_device(void* device, const void* host, const Runs& runs, hashevict_stream stream);
void wait(hashevict_stream stream);
void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream stream);
void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream stream);

}  // namespace hashevict::cuda
