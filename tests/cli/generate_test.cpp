// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::test {
namespace {

using testing::HasSubstr;

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

TEST(Generate, TokensThatAreNoneAreRefused) {
  for (const char* tokens : {"1,two", "1,99999999999", "1,-", "60 -", "1,,2", "1,", ",1", "0x10", "1.5", "1;2", "+1"}) {
    expect_refused(run_command({"generate", "--tokens", tokens}), "--tokens");
  }
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

TEST(Generate, EmptyPromptFileIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("prompt"), "");
  expect_refused(run_command({"generate", "--prompt-file", folder.path("prompt")}), "prompt' is empty");
}

TEST(Generate, OptionsOfThePromptAreRefusedAsInReplay) {
  expect_refused(run_command({"generate", "--prefill-window", "0"}), "prefill window = 0");
  expect_refused(run_command({"generate", "--centering", "prompt"}), "--prefill");
}

TEST(Generate, BudgetBelowProtectedZonesIsRefusedByItsName) {
  expect_refused(run_command({"generate", "--budget", "14"}), "--budget: capacity = 14: expected at least sinks");
}

TEST(Generate, SampleSeedThatIsNoneIsRefused) {
  expect_refused(run_command({"generate", "--sample-seed", "18446744073709551616"}), "--sample-seed");
}

TEST(Generate, TokensBeyondTheVocabularyAreRefused) {
  expect_refused(run_command({"generate", "--tokens", "1,999999"}), "999999");
}

TEST(Generate, MissingModelIsRefused) {
  const TemporaryFolder folder;
  expect_refused(run_command({"generate", "--model", folder.path("none"), "--tokens", "1,2"}), "none");
}

TEST(Generate, TextForAForeignModelIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("config.json"), "{}");
  expect_refused(run_command({"generate", "--model", folder.path("."), "--prompt", "text"}), "--tokens");
}

TEST(Generate, TraceThatCannotBeWrittenIsRefused) {
  const TemporaryFolder folder;
  write_text(folder.path("text"), "to be continued");
  std::filesystem::create_symlink("text", folder.path("link"));
  expect_refused(run_command({"generate", "--save-trace", folder.path("none/trace")}), "its folder does not exist");
  expect_refused(run_command({"generate", "--save-trace", folder.path(".")}), "it is a folder");
  expect_refused(run_command({"generate", "--prompt-file", folder.path("text"), "--save-trace", folder.path("link")}),
                 "is read as well");
  EXPECT_EQ(read_text(folder.path("text")), "to be continued");
}

}  // namespace
}  // namespace hashevict::test
