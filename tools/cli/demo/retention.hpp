// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "report.hpp"
#include "scores.hpp"

namespace hashevict::cli {

/// Streams the example's prompt under a policy and answers it greedily. Writes the prompt's trace to `trace`, unless
/// that is empty. @throws Error
Retention follow(const Runtime& runtime, std::string_view policy, double budget, const Example& example, uint64_t seed,
                 const std::filesystem::path& trace = {});

}  // namespace hashevict::cli
