// SPDX-License-Identifier: Apache-2.0
// `hashevict eval --quick`: everything it writes, that it goes on where it was, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "xml.hpp"

namespace hashevict::test {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

// Run once for all tests.
class Eval : public testing::Test {
 protected:
  static std::vector<std::string> arguments(const std::string& policies) {
    return {"eval",       "--quick", "--out",   folder_->path("out"), "--policies", policies,
            "--variants", "paper-8", "--tasks", "needle,map,text"};
  }

  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    const CommandResult result = run_command(arguments("full,oracle_sum,random,paper,paper_question,h2o,keydiff"));
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    report_ = json::parse(read_text(folder_->path("out/report.json")));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::vector<std::string> policies_of(const std::string& section) {
    std::vector<std::string> names;
    for (const json& cell : report_["sections"][section]) names.push_back(cell["policy"]);
    return names;
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
  static inline json report_;
};

TEST_F(Eval, ReportHoldsEveryPolicyInEverySection) {
  for (const char* section : {"streamed", "known", "generated", "text"}) {
    EXPECT_THAT(policies_of(section),
                IsSupersetOf({"full", "oracle_sum", "random", "paper", "paper-8", "h2o", "keydiff"}))
        << section;
  }
  EXPECT_THAT(policies_of("known"), Contains("paper_question"));
  EXPECT_THAT(policies_of("streamed"), Not(Contains("paper_question"))) << "there is no prompt to reduce";
  EXPECT_EQ(report_["settings"]["seed_set"], "dev");
  EXPECT_EQ(report_["settings"]["seeds"].size(), 3U);
}

TEST_F(Eval, FiguresAreWithinTheirBounds) {
  for (const auto& [name, section] : report_["sections"].items()) {
    for (const json& cell : section) {
      EXPECT_GE(cell["score"]["mean"], 0.0);
      if (name != "text") {
        EXPECT_LE(cell["score"]["mean"], 1.0);
      }
      EXPECT_GE(cell["attention_lost"]["mean"], 0.0);
      EXPECT_LE(cell["attention_lost"]["mean"], 1.0);
      if (cell["policy"] == "full") {
        EXPECT_NEAR(cell["attention_lost"]["mean"], 0.0, 1e-4);
        EXPECT_EQ(cell["over_full"]["mean"], 0.0);
      } else {
        EXPECT_GT(cell["attention_lost"]["mean"], 0.0) << cell["policy"];
        EXPECT_LT(cell["slots"], 257 * cell["budget"].get<double>());
      }
    }
  }
}

TEST_F(Eval, OracleLosesTheLeastAttention) {
  for (const auto& [name, section] : report_["sections"].items()) {
    double least = 1.0;
    double oracle = 1.0;
    for (const json& cell : section) {
      if (cell["budget"] != 0.3) continue;
      const double lost = cell["attention_lost"]["mean"];
      least = std::min(least, lost);
      if (cell["policy"] == "oracle_sum") oracle = lost;
    }
    if (name != "generated") {
      EXPECT_LE(oracle, least + 0.02) << name;
    }
  }
}

TEST_F(Eval, RankCorrelationIsHighestForTheSameStepsProduct) {
  double exact = 0.0;
  double eight_bits = 1.0;
  for (const json& line : report_["rank_correlation"]) {
    if (line["score"] == "exact product") exact = line["lag 0"]["mean"];
    if (line["score"] == "8 bits") eight_bits = line["lag 0"]["mean"];
  }
  EXPECT_GT(exact, 0.5);
  EXPECT_LT(eight_bits, exact);
}

TEST_F(Eval, TablesNameEveryPolicyAndTheSeedSet) {
  const std::string tables = read_text(folder_->path("out/tables.md"));
  for (const char* expected : {"| full |", "| h2o |", "| paper-8 |", "Seed set: **dev**", "Attention lost",
                               "Memory and speed", "question known", "8 bits"}) {
    EXPECT_THAT(tables, HasSubstr(expected));
  }
}

TEST_F(Eval, FiguresAndPageAreWellFormed) {
  for (const char* figure :
       {"streamed-library.svg", "known-attention.svg", "text-exact.svg", "generated-library.svg"}) {
    const std::string svg = read_text(folder_->path("out/" + std::string(figure)));
    EXPECT_NO_THROW(parse_xml(svg)) << figure;
    EXPECT_THAT(svg, HasSubstr("xmlns=\"http://www.w3.org/2000/svg\""));
    EXPECT_THAT(svg, HasSubstr("series random"));
    EXPECT_THAT(svg, HasSubstr("label full"));
  }
  const std::string page = read_text(folder_->path("out/retention.html"));
  EXPECT_NO_THROW(parse_xml(page.substr(page.find("<html"))));
  EXPECT_THAT(page, HasSubstr("map h2o"));
}

TEST_F(Eval, GoesOnWithWhatIsMissingOnly) {
  const auto lines = [] {
    const std::string text = read_text(folder_->path("out/results.jsonl"));
    return std::count(text.begin(), text.end(), '\n');
  };
  const auto before = lines();
  ASSERT_EQ(run_command(arguments("full,random,paper")).exit_code, 0);
  EXPECT_EQ(lines(), before);
  const CommandResult other = run_command({"eval", "--quick", "--out", folder_->path("out"), "--seeds", "test"});
  expect_refused(other, "holds results of another model, text, seed set or length");
}

TEST(EvalInput, BadOptionsAreRefusedInOneLine) {
  const TemporaryFolder folder;
  const auto refuse = [&](std::vector<std::string> options, const std::string& expected) {
    options.insert(options.begin(), {"eval", "--out", folder.path("out")});
    expect_refused(run_command(options), expected);
  };
  refuse({"--policies", "nothing"}, "'nothing' is not a policy");
  refuse({"--variants", "paper-4"}, "expected -8");
  refuse({"--tasks", "needle,juggling"},
         "--tasks: 'juggling' is not one of needle multi tracking copy map values common decoys text all");
  refuse({"--modes", "never"}, "--modes: 'never' is not one of streamed known generated");
  refuse({"--modes", "generated", "--tasks", "map,copy"},
         "modes, tasks: generated has the task needle alone, so of map,copy nothing");
  refuse({"--seeds", "mine"}, "--seeds: 'mine' is not one of dev test");
  refuse({"--seeds", "dev,test"}, "--seeds: 'dev,test' is not one of dev test");
  refuse({"--budgets", "0.5,"}, "--budgets: expected one or more, with commas");
  refuse({"--budgets", "512"}, "not a fraction");
  refuse({"--budgets", "1.5"}, "1.5");
  refuse({"--examples", "0"}, "--examples");
  refuse({"--length", "100"}, "too short for the task");
  refuse({"--length", "100000"}, "positions");
  refuse({"--budgets", "0.01"}, "at a budget of 1 %");
  refuse({"--budgets", "0.0001"}, "leaves no slot");
  refuse({"--budgets", "0.0001", "--policies", "full,oracle_sum", "--variants", "none"}, "leaves no slot");
  refuse({"--tasks", "text", "--examples", "8"}, "examples: 8 texts a seed, but half of the text holds 21 pieces");
  refuse({"--quick", "--length", "10"}, "length: 10 is too short");
  refuse({"--text", folder.path("none")}, "cannot read");
  refuse({"--model", folder.path("none")}, "Path does not exist");
  EXPECT_THAT(folder.files(), testing::IsEmpty()) << "nothing is made for what cannot be";
}

TEST(EvalOutput, WhatIsGivenBesideQuickCounts) {
  const TemporaryFolder folder;
  const CommandResult result =
      run_command({"eval", "--quick", "--out", folder.path("out"), "--policies", "window,random", "--variants", "none",
                   "--tasks", "needle", "--modes", "known", "--examples", "2", "--length", "200", "--budgets", "0.4"});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const json report = json::parse(read_text(folder.path("out/report.json")));
  EXPECT_EQ(report["settings"]["length"], 200);
  EXPECT_EQ(report["settings"]["num_examples_per_task_and_seed"], 2);
  ASSERT_EQ(report["sections"]["known"].size(), 2U);
  EXPECT_EQ(report["sections"]["known"][0]["budget"], 0.4);
  EXPECT_EQ(report["sections"]["known"][0]["score"]["samples"], 6);
  EXPECT_TRUE(report["sections"]["known"][0]["over_full"]["mean"].is_null()) << "the full cache was not measured";
  EXPECT_THAT(result.errors, HasSubstr("no figures were drawn"));
}

TEST(EvalOutput, HelpNamesPoliciesTasksAndModes) {
  const CommandResult result = run_command({"eval", "--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* expected : {"  random_pinned ", "  exact_superseded ", "superseded with exact angles",
                               "Tasks: needle multi", "decoys text all", "Modes: streamed known generated"}) {
    EXPECT_THAT(result.output, HasSubstr(expected));
  }
}

}  // namespace
}  // namespace hashevict::test
