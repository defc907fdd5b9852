// SPDX-License-Identifier: Apache-2.0
// Command lines that are refused before any work, and the names in their one-line messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command.hpp"

namespace hashevict::test {
namespace {

// Runs the command in a folder with the files below. Arguments that begin with @ are paths in it.
struct Refused {
  std::vector<std::string> arguments;
  const char* expected;
};

void PrintTo(const Refused& row, std::ostream* stream) {
  for (const std::string& argument : row.arguments) *stream << argument << ' ';
}

const std::vector<std::string> kFiles = {"config.json", "empty", "lfs", "link", "report.json", "short", "there", "zip"};

void fill(const TemporaryFolder& folder) {
  folder.write("config.json", "{}");
  folder.write("empty", "");
  folder.write("short", "too short");
  folder.write("lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100000\n");
  folder.write("zip", "PK\x03\x04\x14" + std::string(20000, 'x'));
  folder.write("report.json", std::string(1000, 'x'));
  std::filesystem::create_symlink("short", folder.path("link"));
  std::filesystem::create_directories(folder.path("there/report.html"));
}

const Refused kRefused[] = {
    {{}, "subcommand"},
    {{"relay"}, "relay"},
    {{"--nope"}, "--nope"},
    {{"--nope", "info"}, "--nope"},

    {{"generate", "--prompt-file", "@empty"}, "empty' is empty"},
    {{"generate", "--prompt-file", "@lfs"}, "lfs': it is a git-lfs pointer"},
    {{"generate", "--prompt-file", "@zip"}, "zip': it is a zip archive"},
    {{"generate", "--prompt-file", "@there"}, "it is a folder"},
    {{"generate", "--prefill-window", "0"}, "prefill window = 0"},
    {{"generate", "--centering", "prompt"}, "--prefill"},
    {{"generate", "--policy", "importance"}, "--policy importance: expected a --profile with weights"},
    {{"generate", "--budget", "14"},
     "--budget: capacity = 14: expected 15 to 268435456, since a victim requires sinks"},
    {{"generate", "--sample-seed", "18446744073709551616"}, "--sample-seed"},
    {{"generate", "--tokens", "1,999999"}, "999999"},
    {{"generate", "--model", "@none", "--tokens", "1,2"}, "none"},
    {{"generate", "--model", "@", "--prompt", "text"}, "--tokens"},
    {{"generate", "--save-trace", "@none/trace"}, "its folder does not exist"},
    {{"generate", "--save-trace", "@there"}, "it is a folder"},
    {{"generate", "--prompt-file", "@short", "--save-trace", "@link"}, "is read as well"},
    {{"generate", "--temperature=nan"}, "--temperature = nan: expected "},
    {{"generate", "--temperature=-1"}, "--temperature = -1: expected "},
    {{"generate", "--top-k=-5"}, "--top-k = -5: expected "},
    {{"generate", "--top-p=0"}, "--top-p = 0: expected "},
    {{"generate", "--top-p=1.5"}, "--top-p = 1.5: expected "},
    {{"generate", "--top-p=nan"}, "--top-p = nan: expected "},
    {{"generate", "--policy", "nothing"}, "--policy: nothing is not a "},
    {{"generate", "--preset", "nothing"}, "--preset: nothing is not a "},
    {{"generate", "--tie", "nothing"}, "--tie: nothing is not a "},
    {{"generate", "--hash-source", "nothing"}, "--hash-source: nothing is not a "},
    {{"generate", "--centering", "nothing"}, "--centering: nothing is not a "},
    {{"generate", "--backend", "nothing"}, "--backend: nothing is not a "},

    {{"demo", "--quick", "--out", "@out", "--seed", "99999999999999999999"}, "--seed = '99"},
    {{"demo", "--quick", "--out", "@out", "--text", "@none"}, "none"},
    {{"demo", "--quick", "--out", "@out", "--text", "@short"}, "9 bytes"},
    {{"demo", "--quick", "--out", "@out", "--text", "@there"}, "it is a folder"},
    {{"demo", "--quick", "--out", "@out", "--text", "@lfs"}, "lfs': it is a git-lfs pointer"},
    {{"demo", "--quick", "--out", "@out", "--text", "@zip"}, "zip': it is a zip archive"},
    {{"demo", "--quick", "--out", "@out", "--text", "/dev/zero"}, "/dev/zero"},
    {{"demo", "--quick", "--out", "@there"}, "report.html: cannot be written"},
    {{"demo", "--quick", "--out", "@short/a/b"}, "short/a/b"},
    {{"demo", "--quick", "--out", "@", "--text", "@report.json"}, "is read as well"},
};

class Refusal : public testing::TestWithParam<Refused> {};

TEST_P(Refusal, IsOneLineAndLeavesAllFilesAsTheyWere) {
  const TemporaryFolder folder;
  fill(folder);
  std::vector<std::string> arguments = GetParam().arguments;
  for (std::string& argument : arguments) {
    if (argument.starts_with('@')) argument = folder.path(argument.substr(1));
  }
  expect_refused(run_command(arguments), GetParam().expected);
  EXPECT_EQ(folder.files(), kFiles);
  EXPECT_EQ(read_text(folder.path("short")), "too short");
  EXPECT_EQ(read_text(folder.path("report.json")), std::string(1000, 'x'));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("there/report.html")));
}

INSTANTIATE_TEST_SUITE_P(Command, Refusal, testing::ValuesIn(kRefused));

TEST(Tokens, ThatAreNoneAreRefused) {
  for (const char* tokens : {"1,two", "1,99999999999", "1,-", "60 -", "1,,2", "1,", ",1", "0x10", "1.5", "1;2", "+1"}) {
    expect_refused(run_command({"generate", "--tokens", tokens}), "--tokens");
  }
}

TEST(Threads, OutsideOfTheRangeAreRefusedByEveryCommand) {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"generate"},
        {"demo", "--quick", "--out", folder.path("out")},
        {"replay", "--trace", folder.path("t"), "--out", folder.path("o"), "--budget", "4"}}) {
    for (const char* number : {"1025", "4096", "-1", "99999999999"}) {
      std::vector<std::string> arguments = command;
      arguments.insert(arguments.end(), {"--threads", number});
      expect_refused(run_command(arguments), "--threads");
    }
  }
  EXPECT_TRUE(folder.files().empty());
}

}  // namespace
}  // namespace hashevict::test
