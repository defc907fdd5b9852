// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <hashevict/config.hpp>
#include <memory>
#include <vector>

namespace hashevict::eval {

/// Memory that both the host and a backend reach. Whoever was lent some must be gone before it goes.
class UnifiedMemory {
 public:
  /// @param backend cpu or cuda
  /// @throws Error unsupported for cuda where the build has none, backend_error for a device that cannot be used
  UnifiedMemory(Backend backend, int32_t device);

  /// Whether the backend reaches all host memory as it is, so that nothing need be moved here.
  [[nodiscard]] bool is_host() const noexcept { return backend_ == Backend::cpu; }

  /// Aligned to HASHEVICT_ALIGNMENT, uninitialised, valid as long as this object. @throws Error out_of_memory,
  /// backend_error
  std::byte* allocate(uint64_t bytes);

  /// Waits until the backend has done all it was given: before the host reads what it wrote, or writes what it reads.
  /// @throws Error backend_error, also for what failed meanwhile
  void synchronize() const;

  /// Bytes of all memory that allocate() could draw on, free or not. @throws Error as the constructor
  static uint64_t total_bytes(Backend backend, int32_t device);

 private:
  using Release = void (*)(std::byte*) noexcept;

  Backend backend_;
  std::vector<std::unique_ptr<std::byte, Release>> blocks_;
};

}  // namespace hashevict::eval
