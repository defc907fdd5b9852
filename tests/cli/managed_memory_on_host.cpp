// SPDX-License-Identifier: Apache-2.0
#include "managed_memory_on_host.hpp"

#include <hashevict/hashevict.h>

#include <cstring>
#include <new>

#include "cli/replay/managed_memory.hpp"

namespace {

constexpr std::align_val_t kAlignment{HASHEVICT_ALIGNMENT};

uint64_t allocated = 0;

}  // namespace

// Managed memory for kernels on the host (tests/simt): host memory, poisoned.
namespace hashevict::cli::managed_memory {

void use_device(int32_t /*device*/) {}

std::byte* allocate(uint64_t bytes) {
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(memory, 0xdb, bytes);
  allocated += bytes;
  return memory;
}

void release(std::byte* memory) noexcept {
  ::operator delete(memory, kAlignment);
}

void synchronize() {}

uint64_t device_bytes(int32_t /*device*/) {
  return 0;
}

}  // namespace hashevict::cli::managed_memory

namespace hashevict::test {

uint64_t managed_bytes() {
  return allocated;
}

}  // namespace hashevict::test
