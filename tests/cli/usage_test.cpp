// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <hashevict/hashevict.h>

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

TEST(Usage, HelpNamesEveryCommand) {
  const CommandResult result = run_command({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* name : {"demo", "replay", "generate", "info"}) EXPECT_THAT(result.output, HasSubstr(name));
  EXPECT_EQ(result.errors, "");
}

TEST(Usage, HelpOfReplayNamesEveryOption) {
  const CommandResult result = run_command({"replay", "--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* option : {"--trace", "--out", "--budget", "--bits", "--policy", "--hash-source", "--tie", "--sink",
                             "--recent", "--seed", "--prompt", "--prefill", "--prefill-window", "--backend", "--preset",
                             "--centering", "--threads", "key_norm", "lowest-slot"}) {
    EXPECT_THAT(result.output, HasSubstr(option));
  }
}

TEST(Usage, NoCommandIsRefused) {
  expect_refused(run_command({}), "subcommand");
}

TEST(Usage, UnknownCommandIsRefused) {
  expect_refused(run_command({"relay"}), "relay");
}

TEST(Usage, UnknownOptionBeforeTheCommandIsRefused) {
  expect_refused(run_command({"--nope"}), "--nope");
  expect_refused(run_command({"--nope", "info"}), "--nope");
}

TEST(Usage, EmptyValueIsRefused) {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"demo", "--quick", "--text", ""},
                                                    {"demo", "--quick", "--out", ""},
                                                    {"generate", "--tokens", ""},
                                                    {"generate", "--prompt", ""},
                                                    {"generate", "--prompt-file", ""},
                                                    {"generate", "--policy", ""},
                                                    {"generate", "--bits", ""},
                                                    {"generate", "--seed", ""},
                                                    {"generate", "--save-trace", ""},
                                                    {"eval", "--quick", "--votes", ""}}) {
    expect_refused(run_command(arguments), arguments.at(arguments.size() - 2));
  }
}

TEST(Usage, SeedThatIsNoneIsRefused) {
  const TemporaryFolder folder;
  expect_refused(run_command({"demo", "--seed", "99999999999999999999", "--out", folder.path("out")}), "--seed = '99");
  EXPECT_TRUE(folder.files().empty());
}

TEST(Usage, MissingTextIsRefused) {
  const TemporaryFolder folder;
  expect_refused(run_command({"demo", "--quick", "--text", folder.path("none"), "--out", folder.path("out")}), "none");
  EXPECT_TRUE(folder.files().empty());
}

TEST(Usage, ShortTextIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("text"), "too short");
  expect_refused(run_command({"demo", "--quick", "--text", folder.path("text"), "--out", folder.path("out")}),
                 "9 bytes");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"text"});
}

TEST(Usage, FolderAsTextIsRefused) {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"demo", "--quick", "--out", folder.path("out"), "--text", folder.path(".")},
        {"generate", "--prompt-file", folder.path(".")}}) {
    expect_refused(run_command(arguments), "it is a folder");
  }
  EXPECT_TRUE(folder.files().empty());
}

TEST(Usage, ReportThatCannotBeWrittenIsRefused) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("out/report.html"));
  expect_refused(run_command({"demo", "--quick", "--out", folder.path("out")}), "report.html: cannot be written");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path("out/report.html")));
}

TEST(Usage, ReportOverTheTextIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("report.json"), std::string(1000, 'x'));
  expect_refused(run_command({"demo", "--quick", "--text", folder.path("report.json"), "--out", folder.path(".")}),
                 "is read as well");
  EXPECT_EQ(read_text(folder.path("report.json")), std::string(1000, 'x'));
}

TEST(Usage, OutputFolderThatIsAFileIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("file"), "");
  expect_refused(run_command({"demo", "--quick", "--out", folder.path("file/out")}), "file/out");
}

TEST(Info, TellsWhatTheBuildCanDo) {
  const CommandResult result = run_command({"info"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* word : {"version", "cpu target", "cuda", "superseded", "128", "bfloat16", "paged"}) {
    EXPECT_THAT(result.output, HasSubstr(word));
  }
}

}  // namespace
}  // namespace hashevict::test
