// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "summary.hpp"

namespace hashevict::eval {

/// To be called before `evaluate`, and before anything is written, so that what would fail late fails at once.
/// @throws Error naming what cannot be measured so
void validate(const Runtime& runtime, const EvalOptions& options);

/// Measures what the folder does not hold yet, and writes everything into it: `results.jsonl` as it goes, then
/// `report.json`, `tables.md`, the figures and `retention.html`.
/// @param write called with a file's name and content
/// @param folder is there already
/// @throws Error if it holds other results
Evaluation evaluate(const Runtime& runtime, const EvalOptions& options, const std::filesystem::path& folder,
                    const std::function<void(std::string_view file, std::string_view content)>& write,
                    const std::function<void(std::string_view what, double share)>& progress);

}  // namespace hashevict::eval
