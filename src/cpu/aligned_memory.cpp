// SPDX-License-Identifier: Apache-2.0
#include "cpu/aligned_memory.hpp"

#include <hashevict/hashevict.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace hashevict::cpu {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;  // of x86-64, and of Arm with pages of 4 KiB

}  // namespace

AlignedMemory allocate_aligned(uint64_t bytes) {
  // A whole number of huge pages, even for codes and positions: a step reads them after attention, when neither they
  // nor the tables of small pages are in the caches.
  const bool large = bytes >= kHugePage / 2;
  if (large) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  const std::align_val_t alignment{large ? kHugePage : HASHEVICT_ALIGNMENT};
  AlignedMemory memory{new (alignment) std::byte[bytes], AlignedDelete{alignment}};
#if defined(__linux__)
  // Only advice: if the system refuses, the memory is slower.
  if (large) static_cast<void>(madvise(memory.get(), bytes, MADV_HUGEPAGE));
#endif
  return memory;
}

}  // namespace hashevict::cpu
