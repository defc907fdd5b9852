// SPDX-License-Identifier: Apache-2.0
// What the evaluation makes of its measurements: seeds, the file they are kept in, the tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "../engine/temporary_folder.hpp"
#include "eval/quality/figures.hpp"
#include "eval/quality/summary.hpp"

namespace hashevict::eval {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ExampleSeed, IsAnotherForEveryExampleAndTheSameForEveryPolicy) {
  std::set<uint64_t> used;
  size_t count = 0;
  for (const SeedSet set : {SeedSet::dev, SeedSet::test}) {
    for (const uint64_t seed : seeds(set)) {
      for (int32_t index = 0; index < 1100; ++index) {
        for (const Mode mode : {Mode::streamed, Mode::known, Mode::generated}) {
          Measurement m{mode, std::string(kText), seed, index, "paper", 0.3, {}};
          used.insert(example_seed(m));
          for (const Task task : kTasks) {
            m.what = name(task);
            used.insert(example_seed(m));
          }
          count += 1 + kTasks.size();
        }
      }
    }
  }
  EXPECT_EQ(used.size(), count);
  const Measurement paper{Mode::known, "map", 101, 7, "paper", 0.3, {}};
  const Measurement random{Mode::known, "map", 101, 7, "random", 0.1, {}};
  EXPECT_EQ(example_seed(paper), example_seed(random));
}

class ResultsOnDisk : public testing::Test {
 protected:
  std::string content() const {
    std::ifstream stream(path_);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }

  engine::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "results.jsonl";
  Measurement first_{Mode::known, "needle", 3, 1, "paper-32", 0.3, {0.5, 0.25, 77}};
  Measurement second_{Mode::known, "needle", 3, 2, "paper-32", 0.3, {1.0, 0.125, 77}};
};

TEST_F(ResultsOnDisk, WhatFollowsHalfALineIsReadAgain) {
  ResultFile(path_, "{}").add({first_});
  std::ofstream(path_, std::ios::app) << "{\"mode\":\"str";
  ResultFile(path_, "{}").add({second_});
  const ResultFile again(path_, "{}");
  ASSERT_EQ(again.all().size(), 2U);
  EXPECT_TRUE(again.has(first_));
  EXPECT_TRUE(again.has(second_));
}

TEST_F(ResultsOnDisk, HalfOfTheFirstLineIsANewFile) {
  std::ofstream(path_) << "{\"len";
  ResultFile(path_, "{\"length\":1}").add({first_});
  EXPECT_TRUE(ResultFile(path_, "{\"length\":1}").has(first_));
}

TEST_F(ResultsOnDisk, FilesOfOthersAreLeftAlone) {
  for (const std::string other : {"no line at all", "another line\nand half of one"}) {
    std::ofstream(path_) << other;
    EXPECT_THROW(ResultFile(path_, "{}"), Error);
    EXPECT_EQ(content(), other);
  }
}

TEST_F(ResultsOnDisk, EverySettingOfAnExampleIsPartOfItsKey) {
  ResultFile(path_, "{}").add({first_});
  const ResultFile file(path_, "{}");
  const auto has = [&](auto change) {
    Measurement other = first_;
    change(other);
    return file.has(other);
  };
  EXPECT_TRUE(has([](Measurement& m) { m.sample.score = 0.0; }));
  EXPECT_FALSE(has([](Measurement& m) { m.mode = Mode::streamed; }));
  EXPECT_FALSE(has([](Measurement& m) { m.what = "map"; }));
  EXPECT_FALSE(has([](Measurement& m) { m.seed = 4; }));
  EXPECT_FALSE(has([](Measurement& m) { m.index = 0; }));
  EXPECT_FALSE(has([](Measurement& m) { m.policy = "paper-64"; }));
  EXPECT_FALSE(has([](Measurement& m) { m.budget = 0.31; }));
}

// Four examples each of two tasks, and four texts, at half of the bytes.
class Tables : public testing::Test {
 protected:
  void add(Mode mode, std::string_view what, const char* policy, double budget, std::vector<double> scores) {
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto index = static_cast<int32_t>(i);
      measurements_.push_back({mode, std::string(what), 1, index, policy, budget, {scores[i], 0.1, 10}});
    }
  }

  Evaluation evaluation(const char* policies) const {
    Evaluation evaluation;
    evaluation.options.policies = parse_policies(policies);
    evaluation.options.budgets = {0.5};
    evaluation.options.num_examples = 4;
    evaluation.sections = summarize(evaluation.options, measurements_);
    return evaluation;
  }

  std::vector<Measurement> measurements_;
};

TEST_F(Tables, DifferencesToRecallArePairedAndCountTasksTheSame) {
  add(Mode::streamed, "needle", "full", 1.0, {1, 1, 1, 1});
  add(Mode::streamed, "map", "full", 1.0, {1, 1, 1, 1});
  add(Mode::streamed, "needle", "recall", 0.5, {1, 0, 1, 0});
  add(Mode::streamed, "map", "recall", 0.5, {1, 1, 1, 1});
  add(Mode::streamed, "needle", "paper", 0.5, {1, 0, 1, 0});
  add(Mode::streamed, "map", "paper", 0.5, {0, 0, 0, 1});
  add(Mode::streamed, "needle", "window", 0.5, {0, 1, 1, 0});
  add(Mode::streamed, "map", "window", 0.5, {1, 1, 1, 1});
  const std::string tables = to_markdown(evaluation("full,recall,paper,window"));
  const size_t begin = tables.find("### `recall` less the others");
  ASSERT_NE(begin, std::string::npos);
  const std::string table = tables.substr(begin, tables.find("###", begin + 3) - begin);
  // Of needle -1/2 with an error of sqrt(1/3 / 4), of map 0: the full cache has no cell at 50 % of its own.
  EXPECT_THAT(table, HasSubstr("| full | -25.0 ± 14.4 |"));
  // No needle differs; of map 3/4 with an error of 1/4.
  EXPECT_THAT(table, HasSubstr("| paper | +37.5 ± 12.5 ▲ |"));
  // One needle won, one lost.
  EXPECT_THAT(table, HasSubstr("| window | +0.0 ± 20.4 |"));
  EXPECT_THAT(table, Not(HasSubstr("| recall |")));
}

TEST_F(Tables, DifferencesOfTextAreSharesOfTheFullCaches) {
  add(Mode::streamed, kText, "full", 1.0, {2, 2, 2, 2});
  add(Mode::streamed, kText, "random", 0.5, {3, 3, 3, 3});
  add(Mode::streamed, kText, "recall", 0.5, {2.2, 2.2, 2.2, 2.2});
  add(Mode::streamed, kText, "window", 0.5, {2.1, 2.1, 2.1, 2.1});
  const std::string tables = to_markdown(evaluation("full,random,recall,window"));
  EXPECT_THAT(tables, HasSubstr("| window | +5.00 % ± 0.00 ▲ |")) << "over the full cache; better than random";
  EXPECT_THAT(tables, HasSubstr("| window | +5.00 % ± 0.00 ▽ |")) << "recall less window: more nats are worse";
  EXPECT_THAT(tables, HasSubstr("| random | -40.00 % ± 0.00 ▲ |"));
  EXPECT_THAT(tables, HasSubstr("| full | +10.00 % ± 0.00 ▽ |"));
}

TEST_F(Tables, WithoutTheFullCacheTextIsInNats) {
  add(Mode::streamed, kText, "recall", 0.5, {2.2, 2.2, 2.2, 2.2});
  const Evaluation alone = evaluation("recall");
  EXPECT_THAT(to_markdown(alone), HasSubstr("| recall | 2.200 ± 0.000 nats |"));
  EXPECT_THAT(to_markdown(alone), Not(HasSubstr("less the others")));
  EXPECT_TRUE(make_figures(alone).empty()) << "lines begin at the full cache's value";
  EXPECT_THAT(to_markdown(alone), Not(HasSubstr("Figures")));
}

TEST_F(Tables, FiguresSayThatBudgetsAreBytes) {
  add(Mode::streamed, "needle", "full", 1.0, {1, 1, 1, 1});
  add(Mode::streamed, "needle", "recall", 0.5, {1, 0, 1, 0});
  Evaluation both = evaluation("full,recall");
  both.figures = make_figures(both);
  const std::vector<Figure>& figures = both.figures;
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_THAT(to_markdown(both), HasSubstr("\n\nFigures: [rules of the library](streamed-library.svg).\n\n"));
  EXPECT_EQ(figures[0].file, "streamed-library.svg");
  EXPECT_THAT(to_svg(figures[0].chart), HasSubstr("budget: bytes"));
}

TEST_F(Tables, SayWhatTheyWereMadeWith) {
  Evaluation all = evaluation("full,recall");
  all.cpu_target = "NEON";
  all.num_texts = 3;
  EXPECT_THAT(to_markdown(all), HasSubstr("on the CPU target NEON."));
  EXPECT_THAT(to_markdown(all),
              HasSubstr("; 4 examples a task and seed, 3 pieces of running text a seed, none overlapping another.\n"));
  all.options.tasks.clear();
  EXPECT_THAT(to_markdown(all), HasSubstr("sequence; 3 pieces of running text"));
}

TEST_F(Tables, WhatHasNoSamplesHasNoMean) {
  Evaluation all = evaluation("full,recall");
  all.correlations.push_back({"8 bits", {{0.5, 0.1, 3}, {}, {}, {}, {}, {}}});
  const auto line = nlohmann::json::parse(to_json(all))["rank_correlation"][0];
  EXPECT_EQ(line["lag 0"]["mean"], 0.5);
  EXPECT_TRUE(line["lag 1"]["mean"].is_null());
  EXPECT_TRUE(line["lag 1"]["standard_error"].is_null());
  EXPECT_EQ(line["lag 1"]["samples"], 0);
}

}  // namespace
}  // namespace hashevict::eval
