// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "../engine/temporary_folder.hpp"

namespace hashevict::test {

/// The result of running the command.
struct CommandResult {
  int exit_code = -1;
  std::string output;  ///< standard output
  std::string errors;  ///< standard error
};

/// Runs `hashevict` with these arguments, as a user's shell would.
/// @param redirection of the shell, such as `>/dev/full`; redirected output is missing from the result
/// @param before a prefix of the shell's command, such as `ulimit -d 1000 && `
CommandResult run_command(const std::vector<std::string>& arguments, const std::string& redirection = "",
                          const std::string& before = "");

/// Expects a refusal: exit code 2, one line on standard error that names `expected`, and no standard output.
void expect_refused(const CommandResult& result, const std::string& expected);

using engine::TemporaryFolder;

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& content);

}  // namespace hashevict::test
