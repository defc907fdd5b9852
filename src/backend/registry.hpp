// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.hpp"

namespace hashevict {

/// What the library knows of a kind of device. A new backend is one folder under src/ and one entry in registry.cpp.
struct BackendEntry {
  hashevict_backend id;
  bool (*available)();  ///< whether it can be used on this machine now
  uint64_t (*workspace_bytes)(const core::Settings& settings);
  std::unique_ptr<Backend> (*create)(core::Settings settings, const hashevict_memory* memory);
  void (*describe)(hashevict_capabilities& capabilities);
};

/// The entry for a requested backend, AUTO resolved. Fails with UNSUPPORTED where this build or machine lacks it.
const BackendEntry& find_backend(int32_t requested);

/// Adds what each backend of this build says of itself.
void describe_backends(hashevict_capabilities& capabilities);

}  // namespace hashevict
