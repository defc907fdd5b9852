// SPDX-License-Identifier: Apache-2.0
#include "seed_option.hpp"

#include <hashevict/status.hpp>
#include <optional>

#include "eval/numbers.hpp"

namespace hashevict::cli {

CLI::Option* add_seed_option(CLI::App& command, const std::string& name, uint64_t& seed,
                             const std::string& description) {
  const auto parse = [name, &seed](const std::string& text) {
    const std::optional<uint64_t> number = eval::parse_whole<uint64_t>(text);
    if (!number) {
      throw Error(Status::invalid_argument,
                  name + " = '" + text + "': expected a whole number from 0 to " + std::to_string(UINT64_MAX));
    }
    seed = *number;
  };
  return command.add_option_function<std::string>(name, parse, description)
      ->default_str(std::to_string(seed))
      ->type_name("UINT");
}

}  // namespace hashevict::cli
