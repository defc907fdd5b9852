// SPDX-License-Identifier: Apache-2.0
#include "backend/registry.hpp"

#include <array>
#include <string>
#include <utility>

#include "core/failure.hpp"
#include "cpu/cpu_backend.hpp"
#if HASHEVICT_WITH_CUDA
#include "cuda/cuda_backend.hpp"
#endif

namespace hashevict {
namespace {

/// The order is that in which AUTO tries them.
constexpr std::array kBackends {
#if HASHEVICT_WITH_CUDA
  BackendEntry{HASHEVICT_BACKEND_CUDA, cuda::refusal, cuda::workspace_bytes, cuda::create, cuda::describe},
#endif
      BackendEntry{HASHEVICT_BACKEND_CPU, cpu::refusal, cpu::workspace_bytes, cpu::create, cpu::describe},
};

}  // namespace

const BackendEntry& find_backend(int32_t requested, int32_t device) {
  std::string reason = "this build has no other";
  for (const BackendEntry& entry : kBackends) {
    if (requested != HASHEVICT_BACKEND_AUTO && requested != entry.id) continue;
    std::string refusal = entry.refusal(device);
    if (refusal.empty()) return entry;
    reason = std::move(refusal);
  }
  core::require(requested >= HASHEVICT_BACKEND_AUTO && requested <= HASHEVICT_BACKEND_CUDA,
                "backend = {}: expected AUTO (0), CPU (1) or CUDA (2)", requested);
  core::fail(HASHEVICT_UNSUPPORTED, "backend = {}: expected AUTO (0) or CPU (1), since {}", requested, reason);
}

void describe_backends(hashevict_capabilities& capabilities) {
  for (const BackendEntry& entry : kBackends) entry.describe(capabilities);
}

}  // namespace hashevict
