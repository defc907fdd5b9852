// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "budget.hpp"
#include "profile.hpp"

namespace hashevict::cli {

/// The options `--profile` and `--floor`.
struct ProfileOptions {
  std::string file;
  std::optional<int32_t> floor;  ///< none: a third of the mean

  /// @param has_default whether the command has a profile where none is given
  void add_to(CLI::App& command, bool has_default = false);
  /// Loads the file, if one is given. @throws Error as Profile::load()
  std::optional<Profile> load(const engine::ModelConfig& model) const;
};

/// Refuses budgets that a profile cannot divide. @throws Error unless there is one
void require_one_mean(const std::vector<Budget>& budgets);

/// Refuses --votes beside a profile that teaches the rule itself. @throws Error
void require_one_teacher(const Profile& profile, const Config& config);

}  // namespace hashevict::cli
