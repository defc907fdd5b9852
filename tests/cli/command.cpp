// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace hashevict::test {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& arguments, const std::string& redirection,
                          const std::string& before) {
  const TemporaryFolder folder;
  std::string line = before + quoted(HASHEVICT_COMMAND);
  for (const std::string& argument : arguments) line.append(" ").append(quoted(argument));
  line.append(" >").append(quoted(folder.path("output"))).append(" 2>").append(quoted(folder.path("errors")));
  line.append(" ").append(redirection);
  const int status = std::system(line.c_str());
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.output = read_text(folder.path("output"));
  result.errors = read_text(folder.path("errors"));
  return result;
}

void expect_refused(const CommandResult& result, const std::string& expected) {
  EXPECT_EQ(result.exit_code, 2) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  EXPECT_TRUE(result.errors.ends_with('\n')) << result.errors;
  EXPECT_NE(result.errors.find(expected), std::string::npos) << result.errors << "does not name: " << expected;
}

std::string read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_text(const std::string& path, const std::string& content) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!stream) throw std::runtime_error("cannot write " + path);
}

}  // namespace hashevict::test
