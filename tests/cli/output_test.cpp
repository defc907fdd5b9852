// SPDX-License-Identifier: Apache-2.0
// The command prints its whole output, or ends with an exit code other than 0.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <hashevict/cache.hpp>
#include <sstream>

#include "cli/demo/demo.hpp"
#include "command.hpp"
#include "engine/embedded_model.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::test {
namespace {

using testing::HasSubstr;

void expect_told_in_one_line(const CommandResult& result, const std::string& expected) {
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr(expected));
}

const std::vector<std::vector<std::string>>& printing_commands() {
  static const std::vector<std::vector<std::string>> kCommands = {
      {"--help"},
      {"--version"},
      {"info"},
      {"replay", "--help"},
      {"generate", "--prompt", "a", "--budget", "16", "--max-new-tokens", "16"},
      {"generate", "--tokens", "80", "--budget", "16", "--max-new-tokens", "16"}};
  return kCommands;
}

TEST(StandardOutput, ThatIsFullIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full here";
  for (const auto& command : printing_commands()) {
    SCOPED_TRACE(command.front());
    expect_told_in_one_line(run_command(command, ">/dev/full"),
                            "standard output cannot be written: No space left on device");
  }
}

TEST(StandardOutput, ThatIsClosedIsAnError) {
  for (const auto& command : printing_commands()) {
    SCOPED_TRACE(command.front());
    expect_told_in_one_line(run_command(command, ">&-"), "standard output is closed");
  }
}

TEST(StandardError, ThatIsClosedSilencesIt) {
  const CommandResult result = run_command({"info"}, "2>&-");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("version"));
}

TEST(StandardInput, ThatIsClosedChangesNothing) {
  EXPECT_EQ(run_command({"info"}, "<&-").exit_code, 0);
}

TEST(Generate, BudgetOfTheWholeSequenceContinuesAsFull) {
  const CommandResult result =
      run_command({"generate", "--prompt", "Why does Python use indentation for grouping of statements?", "--budget",
                   "1.0", "--max-new-tokens", "24"});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("agree in the first 24 of 24"));
  EXPECT_EQ(result.errors, "");
}

TEST(Generate, SavedTraceReplays) {
  const TemporaryFolder folder;
  ASSERT_EQ(run_command({"generate", "--budget", "100", "--max-new-tokens", "8", "--save-trace", folder.path("trace")})
                .exit_code,
            0);
  const CommandResult result = run_command(
      {"replay", "--trace", folder.path("trace"), "--out", folder.path("out"), "--budget", "100", "--bits", "16"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto trace = engine::Safetensors::open(folder.path("trace"));
  const auto out = engine::Safetensors::open(folder.path("out"));
  EXPECT_EQ(out.at("layers.0.slots").shape[0], trace.at("layers.0.q").shape[0]);
}

TEST(Generate, TokensAreSeparatedByCommasOrBlanks) {
  std::string first;
  for (const char* tokens : {"80,121,116", "80 121 116", " 80, 121 ,116\n"}) {
    const CommandResult result =
        run_command({"generate", "--tokens", tokens, "--budget", "40", "--max-new-tokens", "4"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.output, HasSubstr("prompt of 3 tokens"));
    if (first.empty()) first = result.output;
    EXPECT_EQ(result.output, first);
  }
}

TEST(Generate, IdsAreAnsweredByIdsOnOneLine) {
  const CommandResult result = run_command(
      {"generate", "--tokens", "80,121,116,104", "--budget", "1.0", "--max-new-tokens", "100", "--threads", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  std::istringstream lines(result.output);
  std::vector<std::string> answers;
  for (std::string line; std::getline(lines, line);) {
    for (const char* name : {"full: ", "104 slots: "}) {
      if (line.starts_with(name)) answers.push_back(line.substr(std::string(name).size()));
    }
  }
  ASSERT_EQ(answers.size(), 2U) << result.output;
  EXPECT_EQ(answers[0], answers[1]) << "both caches keep everything";
  std::istringstream ids(answers[0]);
  int count = 0;
  for (int id = -1; ids >> id; ++count) EXPECT_TRUE(id >= 0 && id < 264) << id;
  EXPECT_EQ(count, 100);
  EXPECT_THAT(result.output, HasSubstr("agree in the first 100 of 100"));
}

TEST(Memory, ThatTheProcessMayNotUseIsRefusedByEveryCommandThatReservesIt) {
  constexpr uint64_t kNeeded = uint64_t{50} << 30;
  if (Cache::capabilities(Backend::cpu).host_memory_bytes > kNeeded) GTEST_SKIP() << "this machine has as much";
  expect_refused(run_command({"generate", "--prompt", "x", "--budget", "16777216", "--max-new-tokens", "16777216"}),
                 "--budget, --max-new-tokens: ");
}

TEST(Memory, ThatTheProcessMayNotUseIsRefusedByTheDemo) {
#if defined(HASHEVICT_SANITIZE_ADDRESS) || defined(HASHEVICT_SANITIZE_THREAD)
  GTEST_SKIP() << "a sanitizer takes more memory than there may be";
#endif
  const engine::Model model = engine::load_embedded_model();
  cli::DemoOptions options;
  options.text = std::string(engine::embedded_sample_text());
  const uint64_t kibibytes = cli::demo_bytes(model, options) / 1024;
  const TemporaryFolder folder;
  expect_refused(
      run_command({"demo", "--out", folder.path("out")}, "", "ulimit -d " + std::to_string(kibibytes) + " && "),
      "bytes are needed; this process may use " + std::to_string(kibibytes * 1024));
  EXPECT_TRUE(folder.files().empty());
}

TEST(Text, ThatTellsOfPointersIsTaken) {
  const TemporaryFolder folder;
  write_text(folder.path("text"), "version https://git-lfs.github.com/spec/v1 begins a pointer.");
  const CommandResult result = run_command(
      {"generate", "--prompt-file", folder.path("text"), "--budget", "1.0", "--max-new-tokens", "2", "--threads", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
}

TEST(Text, FromStandardInputIsTaken) {
  const TemporaryFolder folder;
  write_text(folder.path("text"), "to be");
  const CommandResult result =
      run_command({"generate", "--prompt-file", "/dev/stdin", "--budget", "16", "--max-new-tokens", "2"},
                  "<" + folder.path("text"));
  EXPECT_EQ(result.exit_code, 0) << result.errors;
}

}  // namespace
}  // namespace hashevict::test
