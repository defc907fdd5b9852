// SPDX-License-Identifier: Apache-2.0
// `hashevict demo --quick`: the contents of the report, and the truth of its heat map.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <tuple>

#include "cli/demo/demo.hpp"
#include "cli/demo/policies.hpp"
#include "cli/demo/retention.hpp"
#include "cli/profile.hpp"
#include "cli/votes.hpp"
#include "command.hpp"
#include "engine/embedded_model.hpp"
#include "engine/safetensors.hpp"
#include "profile_files.hpp"

namespace hashevict::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// Run once for all tests.
class Demo : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    result_ = run_command({"demo", "--quick", "--out", folder_->path("out")});
    ASSERT_EQ(result_.exit_code, 0) << result_.errors;
    report_ = json::parse(read_text(folder_->path("out/report.json")));
    page_ = read_text(folder_->path("out/report.html"));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::size_t num_heads() {
    return report_["retention"]["num_layers"].get<std::size_t>() *
           report_["retention"]["num_kv_heads"].get<std::size_t>();
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
  static inline CommandResult result_;
  static inline json report_;
  static inline std::string page_;
};

TEST_F(Demo, PrintsTheTableAndWhereTheReportIs) {
  for (const char* word : {"policy", "budget", "KV bytes", "nats per byte", "recall", "tokens/s", "full", "paper",
                           "superseded", "recall", "window", "random", "report.json", "report.html"}) {
    EXPECT_THAT(result_.output, HasSubstr(word));
  }
  EXPECT_THAT(result_.errors, HasSubstr("100 %"));  // progress
}

TEST_F(Demo, JsonHoldsEveryPolicyAtEveryBudget) {
  std::set<std::tuple<std::string, double, bool>> rows;
  for (const json& row : report_["results"]) {
    rows.emplace(row["policy"], row["budget"], row["calibrated"]);
    EXPECT_GT(row["kv_bytes"], 0);
    EXPECT_GT(row["slots"], 0);
    EXPECT_GT(row["nats_per_byte"]["mean"], 0.0);
    EXPECT_GT(row["tokens_per_second"], 0.0);
    EXPECT_EQ(row["tasks"].size(), cli::kTasks.size());
    EXPECT_GE(row["recall"]["mean"], 0.0);
    EXPECT_LE(row["recall"]["mean"], 1.0);
    EXPECT_GE(row["recall"]["standard_error"], 0.0);
    EXPECT_EQ(row["recall"]["samples"],
              report_["settings"]["num_examples_per_task"].get<std::size_t>() * cli::kTasks.size());
  }
  std::set<std::tuple<std::string, double, bool>> expected = {{"full", 1.0, false}};
  for (const auto policy : cli::kPolicies) {
    for (const double budget : cli::kBudgets) {
      expected.emplace(policy, budget, false);
      expected.emplace(policy, budget, true);
    }
  }
  EXPECT_EQ(rows, expected);
  for (const char* key : {"settings", "findings", "results", "retention", "continuation", "divided_slots"})
    EXPECT_TRUE(report_.contains(key));
}

TEST_F(Demo, BudgetsAreFractionsOfTheTokensSeen) {
  const double length = report_["settings"]["length"];
  const double full_bytes = report_["results"][0]["kv_bytes"];
  for (const json& row : report_["results"]) {
    const double budget = row["budget"];
    EXPECT_EQ(row["slots"], static_cast<int>(budget * length));
    // Codes and positions take a few percent of the savings.
    EXPECT_LE(row["kv_bytes"].get<double>(), full_bytes * (budget + 0.07));
    EXPECT_GE(row["kv_bytes"].get<double>(), full_bytes * (budget - 0.01));
  }
}

TEST_F(Demo, ContinuationsStartWithTheFullCaches) {
  const json& policies = report_["continuation"]["policies"];
  ASSERT_EQ(policies.size(), 1 + cli::kPolicies.size());
  const std::string full = policies[0]["text"];
  EXPECT_EQ(policies[0]["policy"], "full");
  for (const json& item : policies) {
    const std::size_t same = item["same_as_full"];
    EXPECT_EQ(item["text"].get<std::string>().substr(0, same), full.substr(0, same));
    EXPECT_LE(same, full.size());
  }
}

// The step that evicted each position, as one path of the page draws it.
std::vector<int32_t> drawn_evictions(const std::string& path) {
  std::vector<int32_t> evicted_at;
  std::istringstream stream(path);
  char letter = 0;
  int32_t x = 0;
  int32_t y = 0;
  int32_t end = 0;
  while (stream >> letter >> x >> y >> letter >> end) {
    EXPECT_EQ(x, static_cast<int32_t>(evicted_at.size()));
    EXPECT_EQ(x, y);
    evicted_at.push_back(end);
  }
  return evicted_at;
}

TEST_F(Demo, HeatMapDrawsWhatTheJsonHolds) {
  std::vector<std::vector<int32_t>> drawn;
  const std::string begin = "<path transform=\"translate(0.5 0)\" d=\"";
  for (std::size_t at = page_.find(begin); at != std::string::npos; at = page_.find(begin, at)) {
    at += begin.size();
    drawn.push_back(drawn_evictions(page_.substr(at, page_.find('"', at) - at)));
  }
  std::vector<std::vector<int32_t>> expected;
  for (const json& policy : report_["retention"]["policies"]) {
    for (const json& head : policy["heads"]) expected.push_back(head["evicted_at"]);
  }
  EXPECT_EQ(drawn.size(), num_heads() * 2 * cli::kPolicies.size());
  EXPECT_EQ(drawn, expected);
}

// Sorted positions that replay found in a head at the end; -1 fills up a head with fewer slots than its neighbours.
std::vector<int32_t> positions_held(const engine::Safetensors& file, const json& head) {
  const auto& tensor = file.at("layers." + std::to_string(head["layer"].get<int>()) + ".positions");
  const auto slots = static_cast<std::size_t>(tensor.shape[1]);
  const auto row = tensor.i32().subspan(head["head"].get<std::size_t>() * slots, slots);
  std::vector<int32_t> positions(row.begin(), row.end());
  positions.erase(std::remove(positions.begin(), positions.end(), -1), positions.end());
  std::sort(positions.begin(), positions.end());
  return positions;
}

TEST_F(Demo, HeatMapAgreesWithReplayOfTheSameTrace) {
  const engine::Model model = engine::load_embedded_model();
  const cli::Votes votes = cli::Votes::embedded(model.config());
  const cli::Profile profile = cli::Profile::embedded(model.config());
  engine::ThreadPool threads(2);
  cli::DemoOptions options = cli::DemoOptions::make_quick();
  options.text = engine::embedded_sample_text();
  const cli::Example example = cli::retention_example(options);
  for (const json& policy : report_["retention"]["policies"]) {
    const std::string name = policy["policy"];
    const bool calibrated = policy["calibrated"];
    SCOPED_TRACE(name + (calibrated ? ", calibrated" : ""));
    const cli::Runtime runtime{model, threads, &votes, &profile, std::nullopt, calibrated};
    cli::follow(runtime, name, policy["budget"], example, options.seed, folder_->path("trace"));
    std::string budgets;
    for (const json& slots : policy["head_slots"]) {
      budgets += (budgets.empty() ? "" : ",") + std::to_string(slots.get<int>());
    }
    std::vector<std::string> arguments = {
        "replay", "--trace", folder_->path("trace"),      "--out", folder_->path("replayed"), "--budget",
        budgets,  "--seed",  std::to_string(options.seed)};
    const bool is_preset = name == "paper" || name == "superseded" || name == "recall";
    arguments.insert(arguments.end(), {is_preset ? "--preset" : "--policy", name});
    const CommandResult result = run_command(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto file = engine::Safetensors::open(folder_->path("replayed"));
    const int32_t num_tokens = report_["retention"]["num_tokens"];
    ASSERT_EQ(policy["heads"].size(), num_heads());
    for (const json& head : policy["heads"]) {
      std::vector<int32_t> held;
      for (int32_t position = 0; position < num_tokens; ++position) {
        if (head["evicted_at"][static_cast<std::size_t>(position)] == num_tokens) held.push_back(position);
      }
      EXPECT_EQ(held, positions_held(file, head)) << "layer " << head["layer"] << ", head " << head["head"];
    }
  }
}

TEST_F(Demo, SameSeedGivesTheSameScores) {
  ASSERT_EQ(run_command({"demo", "--quick", "--threads", "1", "--out", folder_->path("again")}).exit_code, 0);
  const json again = json::parse(read_text(folder_->path("again/report.json")));
  ASSERT_EQ(again["results"].size(), report_["results"].size());
  for (std::size_t i = 0; i < again["results"].size(); ++i) {
    for (const char* key : {"nats_per_byte", "recall", "tasks", "kv_bytes"}) {
      EXPECT_EQ(again["results"][i][key], report_["results"][i][key]) << key;
    }
  }
  EXPECT_EQ(again["retention"], report_["retention"]);
}

TEST(DemoWithAProfile, ShowsItsDivisionInsteadOfTheBuiltInOne) {
  const engine::ModelConfig model = engine::load_embedded_model().config();
  Config shape;
  shape.shape.num_layers = model.num_layers;
  shape.shape.num_kv_heads = model.num_kv_heads;
  const FloatTensors profile = draw_profile(shape, 17, 3);
  const TemporaryFolder folder;
  write_tensors(folder.path("profile"), profile);
  const CommandResult result =
      run_command({"demo", "--quick", "--profile", folder.path("profile"), "--out", folder.path("out")});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("\nrecall, calibrated "));
  const json report = json::parse(read_text(folder.path("out/report.json")));
  const int64_t heads = int64_t{model.num_layers} * model.num_kv_heads;
  EXPECT_EQ(report["divided_slots"]["slots"].get<std::vector<int32_t>>(),
            divided_by_hand(profile, shape, 76 * heads, 256, 25));  // 30 % of 256 tokens, a third of it
  EXPECT_EQ(report["results"].size(), 1 + 2 * cli::kPolicies.size() * cli::kBudgets.size());
  for (const json& row : report["results"]) {
    for (const json& other : report["results"]) {
      if (row["policy"] == "recall" || row["policy"] != other["policy"] || row["budget"] != other["budget"]) continue;
      EXPECT_EQ(row["kv_bytes"], other["kv_bytes"]) << row["policy"] << ": the same budget, divided otherwise";
    }
  }
  EXPECT_THAT(read_text(folder.path("out/report.html")), HasSubstr("Slots of each head"));
}

}  // namespace
}  // namespace hashevict::test
