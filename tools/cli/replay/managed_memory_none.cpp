// SPDX-License-Identifier: Apache-2.0
#include <hashevict/status.hpp>

#include "managed_memory.hpp"

namespace hashevict::cli::managed_memory {
namespace {

[[noreturn]] void refuse() {
  throw Error(Status::unsupported, "backend cuda: this build has no CUDA backend");
}

}  // namespace

void use_device(int32_t /*device*/) {
  refuse();
}

std::byte* allocate(uint64_t /*bytes*/) {
  refuse();
}

void release(std::byte* /*memory*/) noexcept {}

void synchronize() {
  refuse();
}

uint64_t device_bytes(int32_t /*device*/) {
  refuse();
}

}  // namespace hashevict::cli::managed_memory
