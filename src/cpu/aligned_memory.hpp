// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace hashevict::cpu {

struct AlignedDelete {
  std::align_val_t alignment{};
  void operator()(std::byte* memory) const { ::operator delete[](static_cast<void*>(memory), alignment); }
};

/// Host memory that a cache owns.
using AlignedMemory = std::unique_ptr<std::byte[], AlignedDelete>;

/// Memory aligned to HASHEVICT_ALIGNMENT at least, not initialised. Large blocks ask the system for huge pages:
/// attention walks through all of a cache at every step, and with small pages the processor's prefetcher stops and
/// translations are missed every 4 KiB. A system that has none gives what it has. @throws std::bad_alloc
AlignedMemory allocate_aligned(uint64_t bytes);

}  // namespace hashevict::cpu
