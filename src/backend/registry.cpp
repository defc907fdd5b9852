// SPDX-License-Identifier: Apache-2.0
#include "backend/registry.hpp"

#include <algorithm>
#include <array>

#include "core/failure.hpp"
#include "cpu/cpu_backend.hpp"
#if HASHEVICT_WITH_CUDA
#include "cuda/cuda_backend.hpp"
#endif

namespace hashevict {
namespace {

/// In the order in which AUTO tries them.
constexpr std::array kBackends {
#if HASHEVICT_WITH_CUDA
  BackendEntry{HASHEVICT_BACKEND_CUDA, cuda::available, cuda::workspace_bytes, cuda::create, cuda::describe},
#endif
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
  core::fail(HASHEVICT_UNSUPPORTED, "backend = {}: expected AUTO (0) or CPU (1), since {}", requested,
             HASHEVICT_WITH_CUDA ? "no CUDA device can be used here" : "this build has no other");
}

void describe_backends(hashevict_capabilities& capabilities) {
  for (const BackendEntry& entry : kBackends) entry.describe(capabilities);
}

}  // namespace hashevict
