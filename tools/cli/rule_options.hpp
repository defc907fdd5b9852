// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <hashevict/config.hpp>
#include <optional>
#include <string>

#include "eval/names.hpp"
#include "eval/votes.hpp"

namespace hashevict::cli {

/// The options that say which rule evicts, shared by the commands that run one. What is not given is the preset's.
class RuleOptions {
 public:
  void add_to(CLI::App& command);

  /// A config without shape. @throws Error for names and numbers that are none
  Config config() const;

 private:
  std::string preset_ = "paper";
  std::optional<std::string> policy_, hash_source_, tie_, sink_, recent_, centering_;
  std::string backend_ = "cpu";
  std::optional<int32_t> bits_;
  uint64_t seed_ = 0;
  int32_t threads_ = 0;
};

/// The value of an option that takes one of an enum's names; messages begin with the option's name.
template <class Enum>
Enum parse_option(const std::string& option, const std::string& value) {
  try {
    return eval::parse_name<Enum>(value);
  } catch (const Error& error) {
    throw Error(error.status(), option + ": " + error.what());
  }
}

/// Refuses learned votes that a rule cannot take. @throws Error naming the option
void require_votes_fit(const Config& rule, const eval::Votes& votes);

/// What the library says of a config, said of the options that it was made from: `--budget` for its capacities.
std::string in_options(std::string message);

/// Does what may refuse a config that options were made into. @throws Error that names the options
template <class Action>
auto naming_options(const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    throw Error(error.status(), in_options(error.what()));
  }
}

}  // namespace hashevict::cli
