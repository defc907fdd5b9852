// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "hashevict/hashevict.h"

/// The device's memory and streams, without CUDA's headers: runtime.cpp speaks to the CUDA runtime, and
/// tests/simt/runtime.cpp stands in for it where kernels run on the host. Each throws core::Failure with BACKEND_ERROR
/// (allocate(): OUT_OF_MEMORY) and the runtime's own words.
namespace hashevict::cuda {

/// Devices that can be used now; 0 where there is no driver.
int32_t num_devices();

/// Dynamic shared memory that one block may have.
int32_t max_shared_bytes(int32_t device);

/// Makes a device current for the calling thread, and the previous one again at the end.
class CurrentDevice {
 public:
  explicit CurrentDevice(int32_t device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  [[maybe_unused]] int32_t previous_ = 0;  // a device that is the host has only one
};

struct DeviceDelete {
  void operator()(std::byte* memory) const noexcept;
};
using DeviceMemory = std::unique_ptr<std::byte[], DeviceDelete>;

/// On the current device, aligned to HASHEVICT_ALIGNMENT.
DeviceMemory allocate(uint64_t bytes);

// On a stream, in order with what was put there before. The first two wait for their own end.
void copy_to_host(void* host, const void* device, uint64_t bytes, hashevict_stream stream);
void copy_to_device(void* device, const void* host, uint64_t bytes, hashevict_stream stream);
void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream stream);
void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream stream);

}  // namespace hashevict::cuda
