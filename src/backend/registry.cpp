// SPDX-License-Identifier: Apache-2.0
#include "backend/registry.hpp"

#include <algorithm>
#include <array>

#include "core/failure.hpp"
#include "cpu/cpu_backend.hpp"

namespace hashevict {
namespace {

/// In the order in which AUTO tries them.
constexpr std::array kBackends{
    BackendEntry{HASHEVICT_BACKEND_CPU, cpu::available, cpu::workspace_bytes, cpu::create, cpu::describe},
};

}  // namespace

const BackendEntry& find_backend(int32_t requested) {
  const auto* const found = std::find_if(kBackends.begin(), kBackends.end(), [&](const BackendEntry& entry) {
    const bool wanted = requested == HASHEVICT_BACKEND_AUTO || requested == entry.id;
    return wanted && entry.available();
  });
  if (found != kBackends.end()) return *found;
  core::require(requested >= HASHEVICT_BACKEND_AUTO && requested <= HASHEVICT_BACKEND_CUDA,
                "backend = {}: expected AUTO (0), CPU (1) or CUDA (2)", requested);
  core::fail(HASHEVICT_UNSUPPORTED, "backend = {}: expected AUTO (0) or CPU (1), since this build has no other",
             requested);
}

}  // namespace hashevict
