// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "simt/runtime.hpp"

/// The host plays the device: memory is the host's, and streams are ignored, since every launch waits.
namespace hashevict::cuda {
namespace {

constexpr std::align_val_t kAlignment{HASHEVICT_ALIGNMENT};

void copy_runs(void* target, uint64_t target_stride, const void* source, uint64_t source_stride, const Runs& runs) {
  for (uint64_t i = 0; i < runs.count && runs.bytes > 0; ++i) {
    std::memcpy(static_cast<std::byte*>(target) + i * target_stride,
                static_cast<const std::byte*>(source) + i * source_stride, runs.bytes);
  }
}

/// A copy to the host that is still pending. It is made as late as possible, so that a test which reads too early finds
/// no data.
struct Pending {
  void* host;
  const void* device;
  Runs runs;
};

std::vector<Pending>& pending() {
  thread_local std::vector<Pending> pending;
  return pending;
}

void copy_pending() {
  for (const Pending& copy : pending()) {
    copy_runs(copy.host, copy.runs.host_stride, copy.device, copy.runs.memory_stride, copy.runs);
  }
  pending().clear();
}

}  // namespace

int32_t num_devices() {
  return static_cast<int32_t>(simt::Devices::instance().capabilities.size());
}

int32_t compute_capability(int32_t device) {
  return simt::Devices::instance().capabilities.at(static_cast<std::size_t>(device));
}

std::string_view built_architectures() {
  return simt::Devices::instance().architectures;
}

CurrentDevice::CurrentDevice(int32_t device) : device_{device}, previous_{device} {}

CurrentDevice::~CurrentDevice() = default;

void DeviceDelete::operator()(std::byte* memory) const noexcept {
  ::operator delete(static_cast<void*>(memory), kAlignment);
}

DeviceMemory allocate(uint64_t bytes) {
  return DeviceMemory{static_cast<std::byte*>(::operator new(std::max<uint64_t>(bytes, 1), kAlignment))};
}

void copy_to_host(void* host, const void* device, const Runs& runs, hashevict_stream /*stream*/) {
  ++simt::Devices::instance().copies;
  pending().push_back({host, device, runs});
}

void copy_to_device(void* device, const void* host, const Runs& runs, hashevict_stream /*stream*/) {
  ++simt::Devices::instance().copies;
  copy_pending();
  copy_runs(device, runs.memory_stride, host, runs.host_stride, runs);
}

void wait(hashevict_stream /*stream*/) {
  ++simt::Devices::instance().waits;
  copy_pending();
}

void copy_within_device(void* target, const void* source, uint64_t bytes, hashevict_stream /*stream*/) {
  copy_pending();
  if (bytes > 0) std::memcpy(target, source, bytes);
}

void fill(void* device, unsigned char value, uint64_t bytes, hashevict_stream /*stream*/) {
  ++simt::Devices::instance().fills;
  copy_pending();
  if (bytes > 0) std::memset(device, value, bytes);
}

}  // namespace hashevict::cuda
