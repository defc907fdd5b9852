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
  const bool large = bytes >= 2 * kHugePage;
  const std::align_val_t alignment{large ? kHugePage : HASHEVICT_ALIGNMENT};
  AlignedMemory memory{new (alignment) std::byte[bytes], AlignedDelete{alignment}};
#if defined(__linux__)
  // Only advice: if the system refuses, the memory is slower.
  if (large) static_cast<void>(madvise(memory.get(), bytes / kHugePage * kHugePage, MADV_HUGEPAGE));
#endif
  return memory;
}

}  // namespace hashevict::cpu
