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

/// Allocates uninitialised memory, aligned to HASHEVICT_ALIGNMENT at least. It asks the system for huge pages for large
/// blocks: attention reads all of a cache at every step, and small pages stop the processor's prefetcher and miss the
/// TLB every 4 KiB. @throws std::bad_alloc
AlignedMemory allocate_aligned(uint64_t bytes);

}  // namespace hashevict::cpu
