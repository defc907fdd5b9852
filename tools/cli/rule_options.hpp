// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <hashevict/config.hpp>
#include <optional>
#include <string>

#include "names.hpp"
#include "votes.hpp"

namespace hashevict::cli {

/// The options of the eviction rule, shared by commands. The preset supplies the options that are absent.
class RuleOptions {
 public:
  void add_to(CLI::App& command);

  /// Returns a config without shape. @throws Error for unknown names and for text that is not a number
  Config config() const;

 private:
  std::string preset_ = "paper";
  std::optional<std::string> policy_, hash_source_, tie_, sink_, recent_, centering_;
  std::string backend_ = "cpu";
  std::optional<int32_t> bits_;
  uint64_t seed_ = 0;
  int32_t threads_ = 0;
};

/// Parses the value of an option that takes an enum's name. Messages begin with the option's name.
template <class Enum>
Enum parse_option(const std::string& option, const std::string& value) {
  try {
    return parse_name<Enum>(value);
  } catch (const Error& error) {
    throw Error(error.status(), option + ": " + error.what());
  }
}

/// Refuses learned votes that a rule cannot take. @throws Error naming the option
void require_votes_fit(const Config& rule, const Votes& votes);

/// Replaces the config field at the start of the library's message by its option: `--budget` for capacities.
std::string in_options(std::string message);

/// Runs a function that may refuse a config made from options. @throws Error naming the options
template <class Action>
auto naming_options(const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    throw Error(error.status(), in_options(error.what()));
  }
}

}  // namespace hashevict::cli
