// SPDX-License-Identifier: Apache-2.0
#include "profile_options.hpp"

#include <fmt/format.h>

namespace hashevict::cli {

void require_one_mean(const std::vector<Budget>& budgets) {
  if (budgets.size() == 1) return;
  throw Error(Status::invalid_argument,
              fmt::format("--budget: {} budgets beside --profile; expected one, the mean over "
                          "the heads",
                          budgets.size()));
}

void require_one_teacher(const Profile& profile, const Config& config) {
  if (!profile.teaches(config)) return;
  throw Error(Status::invalid_argument, "--votes beside --profile, whose projections the rule takes; expected one");
}

void ProfileOptions::add_to(CLI::App& command, bool has_default) {
  CLI::Option* profile = command.add_option(
      "--profile", file,
      has_default ? "What was learned of the model's heads (safetensors), which divides their slots; default: the "
                    "built-in model's"
                  : "What was learned of the model's heads (safetensors); --budget is then the mean over the heads, "
                    "divided by the importance of their keys");
  CLI::Option* fewest = command.add_option("--floor", floor,
                                           "The fewest slots of a head where a profile divides them, or what the rule "
                                           "needs if that is more; default: a third of the mean");
  fewest->check(CLI::Range(0, 1 << 28));
  if (!has_default) fewest->needs(profile);
}

std::optional<Profile> ProfileOptions::load(const engine::ModelConfig& model) const {
  if (file.empty()) return std::nullopt;
  return Profile::load(file, model);
}

}  // namespace hashevict::cli
