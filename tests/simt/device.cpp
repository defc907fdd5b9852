// SPDX-License-Identifier: Apache-2.0
#include "support/device.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace hashevict::test::device {
namespace {

constexpr std::align_val_t kAlignment{256};

}  // namespace

std::string name() {
  return "kernels_on_host";
}

std::byte* allocate(std::size_t bytes) {
  return static_cast<std::byte*>(::operator new(std::max<std::size_t>(bytes, 1), kAlignment));
}

void release(std::byte* memory) noexcept {
  ::operator delete(static_cast<void*>(memory), kAlignment);
}

void upload(const void* host, void* target, std::size_t bytes) {
  if (bytes > 0) std::memcpy(target, host, bytes);
}

void download(const void* source, void* host, std::size_t bytes) {
  if (bytes > 0) std::memcpy(host, source, bytes);
}

}  // namespace hashevict::test::device
