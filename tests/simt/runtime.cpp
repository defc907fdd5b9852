// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.hpp"

#include <algorithm>
#include <cstring>
#include <new>

/// A device that is the host: memory is the host's, streams are not needed since every launch waits.
namespace hashevict::cuda {
namespace {

constexpr std::align_val_t kAlignment{HASHEVICT_ALIGNMENT};

}  // namespace

int32_t num_devices() {
  return 1;
}

int32_t max_shared_bytes(int32_t /*device*/) {
  return 227 * 1024;  // of sm_90
}

CurrentDevice::CurrentDevice(int32_t device) : previous_{device} {}

CurrentDevice::~CurrentDevice() = default;

void DeviceDelete::operator()(std::byte* memory) const noexcept {
  ::operator delete(static_cast<void*>(memory), kAlignment);
}

DeviceMemory allocate(uint64_t bytes) {
  return DeviceMemory{static_cast<std::byte*>(::operator new(std::max<uint64_t>(bytes, 1), kAlignment))};
}

void copy_to_host(void* host, const void* device, uint64_t bytes, hashevict_stream /*stream*/) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void copy_to_device(void* device, const void* host, uint64_t bytes, hashevict_stream /*stream*/) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream /*stream*/) {
  if (bytes > 0) std::memcpy(target, source, bytes);
}

void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream /*stream*/) {
  if (bytes > 0) std::memset(device, value, bytes);
}

}  // namespace hashevict::cuda
