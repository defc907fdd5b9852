// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace hashevict::test {

/// What a run of the command came to.
struct CommandResult {
  int exit_code = -1;
  std::string output;  ///< standard output
  std::string errors;  ///< standard error
};

/// Runs `hashevict` with these arguments, as a user's shell would.
CommandResult run_command(const std::vector<std::string>& arguments);

/// Expects what every refusal is: exit code 2, one line on standard error that names `expected`, nothing on standard
/// output.
void expect_refused(const CommandResult& result, const std::string& expected);

/// A folder of its own for each test, gone with it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  /// Names of all that lies in it.
  std::vector<std::string> files() const;

 private:
  std::filesystem::path folder_;
};

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& content);

}  // namespace hashevict::test
