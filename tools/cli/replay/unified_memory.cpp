// SPDX-License-Identifier: Apache-2.0
#include "unified_memory.hpp"

#include <algorithm>
#include <hashevict/cache.hpp>
#include <new>
#include <string>

#include "managed_memory.hpp"

namespace hashevict::cli {
namespace {

constexpr std::align_val_t kAlignment{HASHEVICT_ALIGNMENT};

std::byte* allocate_host(uint64_t bytes) {
  void* const memory = ::operator new(bytes, kAlignment, std::nothrow);
  if (memory != nullptr) return static_cast<std::byte*>(memory);
  throw Error(Status::out_of_memory, std::to_string(bytes) + " bytes: this machine does not have them free");
}

void release_host(std::byte* memory) noexcept {
  ::operator delete(memory, kAlignment);
}

}  // namespace

UnifiedMemory::UnifiedMemory(Backend backend, int32_t device) : backend_(backend) {
  if (!is_host()) managed_memory::use_device(device);
}

std::byte* UnifiedMemory::allocate(uint64_t bytes) {
  const uint64_t size = std::max<uint64_t>(bytes, 1);
  blocks_.reserve(blocks_.size() + 1);  // so that no later step can fail before the block has an owner
  if (is_host()) return blocks_.emplace_back(allocate_host(size), release_host).get();
  return blocks_.emplace_back(managed_memory::allocate(size), managed_memory::release).get();
}

void UnifiedMemory::synchronize() const {
  if (!is_host()) managed_memory::synchronize();
}

uint64_t UnifiedMemory::total_bytes(Backend backend, int32_t device) {
  const uint64_t host = Cache::capabilities(Backend::cpu).host_memory_bytes;
  return backend == Backend::cpu ? host : host + managed_memory::device_bytes(device);
}

}  // namespace hashevict::cli
