// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <hashevict/hashevict.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "cli/names.hpp"
#include "command.hpp"

namespace hashevict::test {
namespace {

using testing::HasSubstr;

TEST(Usage, VersionIsTheLibrarys) {
  const CommandResult result = run_command({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "hashevict " + std::to_string(HASHEVICT_VERSION_MAJOR) + "." +
                               std::to_string(HASHEVICT_VERSION_MINOR) + "." + std::to_string(HASHEVICT_VERSION_PATCH) +
                               "\n");
}

// Reads from the help the name of every option of a command, and whether it takes a value.
std::map<std::string, bool> options_of(const std::string& command) {
  const CommandResult result = run_command({command, "--help"});
  EXPECT_EQ(result.exit_code, 0) << command;
  EXPECT_EQ(result.errors, "") << command;
  std::map<std::string, bool> options;
  std::istringstream lines(result.output);
  const std::regex option("^ +(?:-\\w,)?(--[a-z-]+)( [A-Z]+)?.*");
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, option)) options.emplace(match[1], match[2].matched);
  }
  return options;
}

// Reads the commands from the help.
std::vector<std::string> all_commands() {
  const CommandResult result = run_command({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.errors, "");
  std::istringstream lines(result.output.substr(result.output.find("Subcommands:")));
  std::vector<std::string> commands;
  const std::regex command("^  ([a-z]+) .*");
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, command)) commands.push_back(match[1]);
  }
  return commands;
}

// Finds every option that a command's source declares.
std::set<std::string> declared_options() {
  std::set<std::string> options;
  const std::regex declaration("add_(?:seed_)?(?:option|flag|threads_option)\\((?:\\*?command,)?\\s*\"(--[a-z-]+)\"");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(HASHEVICT_COMMAND_SOURCES)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string source = read_text(entry.path());
    for (std::sregex_iterator at(source.begin(), source.end(), declaration), end; at != end; ++at) {
      options.insert((*at)[1]);
    }
  }
  return options;
}

TEST(Usage, HelpNamesEveryCommandAndEveryOption) {
  const std::vector<std::string> commands = all_commands();
  EXPECT_THAT(commands, testing::IsSupersetOf({"demo", "generate"}));
  std::set<std::string> named;
  for (const std::string& command : commands) {
    for (const auto& [option, takes_value] : options_of(command)) named.insert(option);
  }
  named.erase("--help");
  EXPECT_EQ(named, declared_options());
  EXPECT_GT(named.size(), 25U);
}

TEST(Usage, HelpOfThreadsTellsTheirRange) {
  for (const char* command : {"generate", "demo", "replay"}) {
    EXPECT_THAT(run_command({command, "--help"}).output, HasSubstr("[0 - 1024]"));
  }
}

TEST(Usage, HelpOfEveryOptionWithNamesListsThem) {
  const std::string help = run_command({"replay", "--help"}).output;
  const auto expect_names = [&help](const auto& table) {
    for (const auto& [name, value] : table) EXPECT_THAT(help, HasSubstr(std::string(name)));
  };
  expect_names(cli::Names<Policy>::kTable);
  expect_names(cli::Names<Preset>::kTable);
  expect_names(cli::Names<Tie>::kTable);
  expect_names(cli::Names<HashSource>::kTable);
  expect_names(cli::Names<Centering>::kTable);
  expect_names(cli::Names<PrefillMode>::kTable);
  expect_names(cli::Names<Backend>::kTable);
}

TEST(Usage, EmptyValueOfEveryOptionIsRefused) {
  for (const std::string& command : all_commands()) {
    for (const auto& [option, takes_value] : options_of(command)) {
      if (takes_value) expect_refused(run_command({command, option, ""}), option);
    }
  }
}

TEST(Info, TellsWhatTheBuildCanDo) {
  const CommandResult result = run_command({"info"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* word : {"version", "cpu target", "cuda", "superseded", "128", "bfloat16", "paged_per_head"}) {
    EXPECT_THAT(result.output, HasSubstr(word));
  }
}

}  // namespace
}  // namespace hashevict::test
