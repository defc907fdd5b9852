// SPDX-License-Identifier: Apache-2.0
// `hashevict_eval --quick`: its measurements, the continuation of an interrupted run, and its refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/model_folder.hpp"

namespace hashevict::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<json> results_in(const TemporaryFolder& folder) {
  std::istringstream lines(read_text(folder.path("out/results.jsonl")));
  std::vector<json> results;
  for (std::string line; std::getline(lines, line);) results.push_back(json::parse(line));
  return results;
}

std::string policy_of(const json& line) {
  return line["policy"];
}

// Run once for all tests.
class Eval : public testing::Test {
 protected:
  static std::vector<std::string> arguments(const std::string& policies) {
    return {"--quick", "--out", folder_->path("out"), "--policies", policies, "--tasks", "needle,map,text"};
  }

  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    const CommandResult result = run_command(arguments("full,random,paper,h2o,keydiff"));
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    results_ = results_in(*folder_);
    settings_ = results_.front();
    results_.erase(results_.begin());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  // Lines of one mode, or of running text.
  static std::vector<json> section(const std::string& name) {
    std::vector<json> lines;
    for (const json& line : results_) {
      if (line["what"] == "text" ? name == "text" : line["mode"] == name) lines.push_back(line);
    }
    return lines;
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
  static inline std::vector<json> results_;
  static inline json settings_;
};

TEST_F(Eval, EverySectionHoldsEveryPolicy) {
  const auto policies_of = [](const std::string& name) {
    std::set<std::string> names;
    for (const json& line : section(name)) names.insert(policy_of(line));
    return names;
  };
  for (const char* name : {"streamed", "known", "text"}) {
    EXPECT_EQ(policies_of(name), (std::set<std::string>{"full", "random", "paper", "h2o", "keydiff"})) << name;
  }
  EXPECT_EQ(settings_["seeds"], "dev");
}

TEST_F(Eval, EveryPolicyIsDescribedOnce) {
  std::map<std::string, int> described;
  for (const json& line : section("policy")) {
    ++described[policy_of(line)];
    EXPECT_NE(line["description"], "");
  }
  EXPECT_EQ(described.size(), 5U);
  for (const auto& [policy, count] : described) EXPECT_EQ(count, 1) << policy;
}

TEST_F(Eval, ScoresAreWithinTheirBounds) {
  for (const char* name : {"streamed", "known", "text"}) {
    for (const json& line : section(name)) {
      EXPECT_GE(line["score"], 0.0);
      if (line["what"] != "text") {
        EXPECT_LE(line["score"], 1.0);
      }
      if (line["policy"] != "full") {
        EXPECT_LT(line["slots"], 257 * line["budget"].get<double>());
      }
    }
  }
}

TEST_F(Eval, GoesOnWithWhatIsMissingOnly) {
  const std::size_t before = results_in(*folder_).size();
  ASSERT_EQ(run_command(arguments("full,random,paper")).exit_code, 0);
  EXPECT_EQ(results_in(*folder_).size(), before);
  const CommandResult other = run_command({"--quick", "--out", folder_->path("out"), "--seeds", "test"});
  expect_refused(other, "holds results of another model, text, seed set or length");
}

TEST(EvalInput, BadOptionsAreRefusedInOneLine) {
  const TemporaryFolder folder;
  const auto refuse = [&](std::vector<std::string> options, const std::string& expected) {
    options.insert(options.begin(), {"--out", folder.path("out")});
    expect_refused(run_command(options), expected);
  };
  refuse({"--policies", "nothing"}, "'nothing' is not a policy");
  refuse({"--tasks", "needle,juggling"},
         "--tasks: 'juggling' is not one of needle multi tracking copy map values common decoys text all");
  refuse({"--modes", "never"}, "--modes: 'never' is not one of streamed known");
  refuse({"--seeds", "mine"}, "--seeds: 'mine' is not one of dev test");
  refuse({"--seeds", "dev,test"}, "--seeds: 'dev,test' is not one of dev test");
  refuse({"--budgets", "0.5,"}, "--budgets: expected one or more, with commas");
  refuse({"--budgets", "512"}, "not a fraction");
  refuse({"--budgets", "1.5"}, "1.5");
  refuse({"--examples", "0"}, "--examples");
  refuse({"--threads", "1025"}, "--threads");
  refuse({"--votes", ""}, "--votes");
  refuse({"--length", "100"}, "too short for the task");
  refuse({"--length", "100000"}, "positions");
  refuse({"--budgets", "0.01"}, "at a budget of 1 %");
  refuse({"--budgets", "0.0001"}, "leaves no slot");
  refuse({"--tasks", "text", "--examples", "8"}, "examples: 8 texts a seed, but half of the text holds 21 pieces");
  refuse({"--quick", "--length", "10"}, "length: 10 is too short");
  refuse({"--text", folder.path("none")}, "cannot read");
  refuse({"--model", folder.path("none")}, "none: cannot be opened: No such file or directory");
  EXPECT_THAT(folder.files(), testing::IsEmpty()) << "nothing is made for what cannot be";
}

std::vector<std::string> on_model(const ModelFolder& model) {
  return {"--quick", "--model", model.file("."), "--policies", "full,window",    "--tasks",
          "needle",  "--modes", "streamed",      "--out",      model.file("out")};
}

TEST(EvalModel, VocabularyThatIsNotBytesIsRefusedBeforeAnythingIsMade) {
  for (const int64_t vocab_size : {97, 255, 1000}) {
    ModelFolder model(vocab_size);
    model.config["max_position_embeddings"] = 2048;
    model.write();
    expect_refused(run_command(on_model(model)), "vocab_size = " + std::to_string(vocab_size));
    EXPECT_FALSE(std::filesystem::exists(model.file("out")));
  }
}

TEST(EvalModel, NumbersThatOverflowAreAnErrorNotATable) {
  ModelFolder model(264);
  model.config["max_position_embeddings"] = 2048;
  for (float& value : model.tensor("lm_head.weight")) value = 3e38F;
  model.write();
  const CommandResult result = run_command(on_model(model));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.output, "");
  EXPECT_NE(result.errors.find("hashevict_eval: position 254, token 48: the model's logits are not finite"),
            std::string::npos)
      << result.errors;  // behind what it had begun to measure
}

TEST(EvalOutput, WhatIsGivenBesideQuickCounts) {
  const TemporaryFolder folder;
  const CommandResult result =
      run_command({"--quick", "--out", folder.path("out"), "--policies", "window,random", "--tasks", "needle",
                   "--modes", "known", "--examples", "2", "--length", "200", "--budgets", "0.4"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  std::vector<json> lines = results_in(folder);
  EXPECT_EQ(lines.front()["length"], 200);
  std::erase_if(lines, [](const json& line) { return !line.contains("score"); });
  EXPECT_EQ(lines.size(), 2U * 3U * 2U) << "policies, seeds, examples";
  for (const json& line : lines) EXPECT_EQ(line["budget"], 0.4);
}

TEST(EvalOutput, ThatCannotBeWrittenIsRefusedBeforeAnythingIsMeasured) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("out/results.jsonl"));
  expect_refused(run_command({"--quick", "--out", folder.path("out")}), "results.jsonl");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path("out")), {}), 1);
}

TEST(EvalOutput, OverTheTextIsRefused) {
  const TemporaryFolder folder;
  const std::string text = folder.path("results.jsonl");
  write_text(text, std::string(4000, 'x'));
  expect_refused(run_command({"--quick", "--text", text, "--out", folder.path("."), "--tasks", "needle"}),
                 "is read as well");
  EXPECT_EQ(read_text(text), std::string(4000, 'x'));
}

TEST(EvalOutput, HelpNamesPoliciesTasksAndModes) {
  const CommandResult result = run_command({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* expected : {"  recall_even ", "  keydiff ", "KeyDiff: largest cosine to the mean key",
                               "Tasks: needle multi", "decoys text all", "Modes: streamed known;"}) {
    EXPECT_THAT(result.output, HasSubstr(expected));
  }
}

}  // namespace
}  // namespace hashevict::test
