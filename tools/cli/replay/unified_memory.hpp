// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <hashevict/config.hpp>
#include <memory>
#include <vector>

namespace hashevict::cli {

/// Memory that both the host and a backend reach. It must outlive the caches that use it.
class UnifiedMemory {
 public:
  /// @param backend cpu or cuda
  /// @throws Error unsupported for cuda where the build has none, backend_error for a device that cannot be used
  UnifiedMemory(Backend backend, int32_t device);

  /// Whether the backend reaches all host memory, so that no copies are needed.
  [[nodiscard]] bool is_host() const noexcept { return backend_ == Backend::cpu; }

  /// Allocates memory aligned to HASHEVICT_ALIGNMENT, valid as long as this object. @throws Error out_of_memory,
  /// backend_error
  std::byte* allocate(uint64_t bytes);

  /// Waits for the backend: before the host reads memory that it writes, or writes memory that it reads.
  /// @throws Error backend_error, also for an operation that failed meanwhile
  void synchronize() const;

  /// The size of the memory that allocate() draws on, free or not: as much of the host's as this process may use.
  /// @throws Error as the constructor
  static uint64_t total_bytes(Backend backend, int32_t device);

 private:
  using Release = void (*)(std::byte*) noexcept;

  Backend backend_;
  std::vector<std::unique_ptr<std::byte, Release>> blocks_;
};

}  // namespace hashevict::cli
