// SPDX-License-Identifier: Apache-2.0
#include "cli/memory.hpp"

#include <hashevict/cache.hpp>
#include <string>

#include "../engine/refusal.hpp"

namespace hashevict::cli {
namespace {

TEST(RequiredMemory, AboveWhatTheProcessMayUseIsRefusedWithBothNumbers) {
  const uint64_t present = Cache::capabilities(Backend::cpu).host_memory_bytes;
  ASSERT_GT(present, 1U);
  EXPECT_NO_THROW(require_memory("--budget", present - 1));
  const std::string bytes = std::to_string(present);
  EXPECT_EQ(engine::refusal([&] { require_memory("--budget", present); }, Status::out_of_memory),
            "--budget: " + bytes + " bytes are needed; this process may use " + bytes);
}

}  // namespace
}  // namespace hashevict::cli
