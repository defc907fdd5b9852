// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.hpp"

namespace hashevict {

/// A kind of device, as the library sees it. A new backend is one folder under src/ and one entry in registry.cpp.
struct BackendEntry {
  hashevict_backend id;
  std::string (*refusal)(int32_t device);  ///< why a device of this machine cannot be used; empty if it can
  uint64_t (*workspace_bytes)(const core::Settings& settings);
  std::unique_ptr<Backend> (*create)(core::Settings settings, const hashevict_memory* memory);
  void (*describe)(hashevict_capabilities& capabilities);
};

/// The device number for callers that accept any device.
inline constexpr int32_t kAnyDevice = -1;

/// The entry for a requested backend. AUTO resolves to the first one that can use `device`. Fails with UNSUPPORTED if
/// this build or machine lacks the backend.
const BackendEntry& find_backend(int32_t requested, int32_t device);

/// Adds each backend's own capabilities.
void describe_backends(hashevict_capabilities& capabilities);

}  // namespace hashevict
