// SPDX-License-Identifier: Apache-2.0
#include "cli/replay/unified_memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <hashevict/cache.hpp>

namespace hashevict::cli {
namespace {

template <class Call>
Status status_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.status();
  }
  return Status::ok;
}

TEST(UnifiedMemory, BlocksOfTheCpuAreAlignedAndApart) {
  UnifiedMemory memory(Backend::cpu, 0);
  std::byte* const first = memory.allocate(1);
  std::byte* const second = memory.allocate(1000);
  std::memset(first, 1, 1);
  std::memset(second, 2, 1000);
  memory.synchronize();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % HASHEVICT_ALIGNMENT, 0U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(second) % HASHEVICT_ALIGNMENT, 0U);
  EXPECT_EQ(*first, std::byte{1});
  EXPECT_TRUE(memory.is_host());
}

TEST(UnifiedMemory, NothingIsStillABlock) {
  UnifiedMemory memory(Backend::cpu, 0);
  EXPECT_NE(memory.allocate(0), nullptr);
}

TEST(UnifiedMemory, CudaIsRefusedWhereTheBuildLacksIt) {
  if (Cache::capabilities(Backend::cpu).has_cuda_build != 0) GTEST_SKIP() << "this build has CUDA";
  EXPECT_EQ(status_of([] { UnifiedMemory(Backend::cuda, 0); }), Status::unsupported);
  EXPECT_EQ(status_of([] { UnifiedMemory::total_bytes(Backend::cuda, 0); }), Status::unsupported);
}

}  // namespace
}  // namespace hashevict::cli
