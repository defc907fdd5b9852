// SPDX-License-Identifier: Apache-2.0
// What the evaluation's figures rest on: names, bytes, statistics, and what it remembers of an earlier run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "../engine/temporary_folder.hpp"
#include "engine/embedded_model.hpp"
#include "eval/demo.hpp"
#include "eval/quality/statistics.hpp"
#include "eval/quality/summary.hpp"

namespace hashevict::eval {
namespace {

using testing::HasSubstr;

Config shape_of(int32_t head_dim) {
  Config shape;
  shape.num_layers = 1;
  shape.num_qo_heads = shape.num_kv_heads = 1;
  shape.head_dim = head_dim;
  return shape;
}

std::string refusal(std::string_view name) {
  try {
    parse_policy(name);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PolicyTable, NamesAreUniqueAndComeBack) {
  std::set<std::string> names;
  for (const PolicyRow& row : policy_table()) {
    EXPECT_TRUE(names.insert(std::string(row.name)).second) << row.name;
    EXPECT_EQ(parse_policy(row.name).name(), row.name);
    EXPECT_NE(row.configure == nullptr, row.make_scorer == nullptr) << row.name;
  }
  for (const char* name : {"paper-32", "paper-ends", "superseded-128-ends", "h2o-ends"}) {
    EXPECT_EQ(parse_policy(name).name(), name);
  }
}

TEST(PolicyTable, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(refusal("nothing"), HasSubstr("'nothing' is not a policy; expected one of full"));
  EXPECT_THAT(refusal("paper-4"), HasSubstr("expected -8, -16"));
  EXPECT_THAT(refusal("paper-16x"), HasSubstr("expected -8, -16"));
  EXPECT_THAT(refusal("random-16"), HasSubstr("random hashes nothing"));
  EXPECT_THAT(refusal("h2o-16"), HasSubstr("h2o hashes nothing"));
  EXPECT_THAT(refusal("recall-32"), HasSubstr("learned for the bits that it has"));
  EXPECT_THAT(refusal("full-ends"), HasSubstr("full needs no protection"));
}

TEST(PolicyTable, EndsProtectATenthOfTheCapacityAtBothEnds) {
  const Config config = parse_policy("superseded-32-ends").config(shape_of(64));
  EXPECT_EQ(config.hash_bits, 32);
  EXPECT_FLOAT_EQ(config.sink_fraction, 0.1F);
  EXPECT_FLOAT_EQ(config.recent_fraction, 0.1F);
  const Zones zones = parse_policy("h2o-ends").zones(200);
  EXPECT_EQ(zones.num_sink_tokens, 20);
  EXPECT_EQ(zones.recent_window, 20);
  EXPECT_EQ(parse_policy("h2o").zones(200).recent_window, 100);
  EXPECT_EQ(parse_policy("snapkv").zones(200).recent_window, 32);
  EXPECT_EQ(parse_policy("snapkv").zones(40).recent_window, 20) << "no more than half of the budget";
}

TEST(PolicyTable, ListsExpandGroupsOnce) {
  const std::vector<PolicyChoice> choices = parse_policies("random,library,paper-8,random");
  ASSERT_GT(choices.size(), 3U);
  EXPECT_EQ(choices.front().name(), "random");
  EXPECT_EQ(choices.back().name(), "paper-8");
  EXPECT_EQ(std::count_if(choices.begin(), choices.end(), [](const auto& c) { return c.name() == "random"; }), 1);
  EXPECT_EQ(parse_policies("all").size(), policy_table().size());
}

TEST(ByteModel, CountsCodesPositionsAndAccumulators) {
  const Config shape = shape_of(64);
  const auto slot = [&](const char* name) { return ByteModel::of(parse_policy(name), shape).slot; };
  EXPECT_EQ(slot("full"), 256);
  EXPECT_EQ(slot("oracle_sum"), 256) << "a bound pays for nothing";
  EXPECT_EQ(slot("window"), 260);
  EXPECT_EQ(slot("random"), 260);
  EXPECT_EQ(slot("paper"), 262);
  EXPECT_EQ(slot("paper-128"), 276);
  EXPECT_EQ(slot("superseded"), 269);
  EXPECT_EQ(slot("recall"), 264);
  EXPECT_EQ(slot("key_norm"), 264);
  EXPECT_EQ(slot("h2o"), 264);
  EXPECT_EQ(slot("keydiff"), 260);
  EXPECT_EQ(ByteModel::of(parse_policy("keydiff"), shape).head, 256);
  EXPECT_EQ(ByteModel::of(parse_policy("mean"), shape).head, 256);
  EXPECT_EQ(ByteModel::of(parse_policy("majority"), shape).head, 256) << "64 counters of 4 bytes";
}

TEST(ByteModel, EqualBytesBuyFewerSlotsWhereSlotsCostMore) {
  const Config shape = shape_of(64);
  const auto slots = [&](const char* name, double budget) {
    return ByteModel::of(parse_policy(name), shape).slots(budget, 1000, shape);
  };
  EXPECT_EQ(slots("full", 1.0), 1000);
  EXPECT_EQ(slots("oracle_sum", 0.3), 300);
  EXPECT_EQ(slots("random", 0.3), 76800 / 260);
  EXPECT_EQ(slots("superseded", 0.3), 76800 / 269);
  EXPECT_EQ(slots("mean", 0.3), (76800 - 256) / 268);
  EXPECT_THROW(slots("random", 0.0005), Error);
}

TEST(Statistics, StratifiedMeansCountEveryStratumTheSame) {
  const Estimate value = stratified({{1.0, 1.0, 0.0, 0.0}, {1.0}});
  EXPECT_DOUBLE_EQ(value.mean, 0.75);
  // The first stratum's error is sqrt(1/3 / 4), the second's unknown.
  EXPECT_NEAR(value.error, std::sqrt(1.0 / 12.0) / 2.0, 1e-12);
  EXPECT_EQ(value.count, 5);
}

TEST(Statistics, RankCorrelationIsSpearmans) {
  const std::vector<float> rising = {1, 2, 30, 400};
  EXPECT_DOUBLE_EQ(rank_correlation(rising, std::vector<float>{-5, 0, 1, 2}), 1.0);
  EXPECT_DOUBLE_EQ(rank_correlation(rising, std::vector<float>{4, 3, 2, 1}), -1.0);
  EXPECT_DOUBLE_EQ(rank_correlation(rising, std::vector<float>{7, 7, 7, 7}), 0.0);
  // Ranks 0, 1.5, 1.5, 3 against 1, 0, 2, 3.
  EXPECT_NEAR(rank_correlation(std::vector<float>{1, 2, 2, 3}, std::vector<float>{2, 1, 3, 4}),
              (1.5 * 0.5 + 0.0 + 0.0 + 1.5 * 1.5) / std::sqrt(4.5 * 5.0), 1e-12);
}

TEST(Seeds, DevAndTestShareNothing) {
  for (const uint64_t seed : seeds(SeedSet::dev)) {
    EXPECT_EQ(std::count(seeds(SeedSet::test).begin(), seeds(SeedSet::test).end(), seed), 0);
  }
  EXPECT_GE(seeds(SeedSet::dev).size(), 3U);
  EXPECT_GE(seeds(SeedSet::test).size(), 3U);
  const std::string_view text = "0123456789";
  EXPECT_EQ(half_of(text, SeedSet::dev), "01234");
  EXPECT_EQ(half_of(text, SeedSet::test), "56789");
}

class Sequences : public testing::Test {
 protected:
  Sequences() : model_(engine::load_embedded_model()), threads_(1) {}

  Sequence make(Mode mode, Task task) {
    Random random(5);
    const Ingredients ingredients{engine::embedded_sample_text(), split_words(embedded_words())};
    return make_recall({model_, threads_}, mode, task, ingredients, 300, random);
  }

  engine::Model model_;
  engine::ThreadPool threads_;
};

TEST_F(Sequences, HaveTheLengthAskedForAndEndWithAnAnswer) {
  for (const Mode mode : {Mode::streamed, Mode::known, Mode::generated}) {
    const Sequence sequence = make(mode, Task::needle);
    EXPECT_EQ(sequence.tokens.size(), 300U) << name(mode);
    ASSERT_FALSE(sequence.answers.empty());
    EXPECT_EQ(sequence.answers.back().end, 300U);
  }
}

TEST_F(Sequences, PromptsAreWhatTheModeSays) {
  EXPECT_EQ(make(Mode::streamed, Task::needle).num_prefilled, 0U);
  const Sequence known = make(Mode::known, Task::needle);
  EXPECT_EQ(known.num_prefilled + 1, known.answers.front().begin);
  const Sequence generated = make(Mode::generated, Task::needle);
  EXPECT_GT(generated.num_prefilled, 0U);
  EXPECT_LT(generated.num_prefilled, 80U);
}

TEST_F(Sequences, OneStreamedContextIsAskedSeveralTimes) {
  EXPECT_GT(make(Mode::streamed, Task::map).answers.size(), 1U);
  EXPECT_EQ(make(Mode::known, Task::map).answers.size(), 1U);
}

TEST(ResultFile, GoesOnWhereARunWasStopped) {
  const engine::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "results.jsonl";
  const Measurement first{Mode::known, "needle", 3, 1, "paper-32", 0.3, {0.5, 0.25, 77}};
  ResultFile(path, "{}").add({first});
  std::ofstream(path, std::ios::app) << "{\"mode\":\"str";  // as if the power had failed
  const ResultFile again(path, "{}");
  ASSERT_EQ(again.all().size(), 1U);
  EXPECT_TRUE(again.has(first));
  EXPECT_EQ(again.all()[0].sample.slots, 77);
  EXPECT_DOUBLE_EQ(again.all()[0].sample.lost, 0.25);
  Measurement other = first;
  other.budget = 0.2;
  EXPECT_FALSE(again.has(other));
}

TEST(ResultFile, RefusesResultsOfOtherSettings) {
  const engine::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "results.jsonl";
  ResultFile(path, "{\"length\":1}");
  EXPECT_THROW(ResultFile(path, "{\"length\":2}"), Error);
}

TEST(Summary, ComparesWithFullAndRandomExampleByExample) {
  std::vector<Measurement> all;
  const auto add = [&all](int32_t index, const char* policy, double budget, double score) {
    all.push_back({Mode::streamed, "needle", 1, index, policy, budget, {score, 0.1, 10}});
  };
  for (int32_t i = 0; i < 4; ++i) {
    add(i, "full", 1.0, 1.0);
    add(i, "random", 0.5, i % 2);
    add(i, "paper", 0.5, 0.0);
  }
  EvalOptions options;
  options.policies = parse_policies("full,random,paper");
  options.budgets = {0.5};
  options.num_examples = 4;
  const std::vector<Section> sections = summarize(options, all);
  ASSERT_EQ(sections.size(), 1U);
  const Cell* paper = sections[0].find("paper", 0.5);
  ASSERT_NE(paper, nullptr);
  EXPECT_DOUBLE_EQ(paper->score.mean, 0.0);
  EXPECT_DOUBLE_EQ(paper->over_full.mean, -1.0);
  EXPECT_DOUBLE_EQ(paper->over_full.error, 0.0);
  EXPECT_DOUBLE_EQ(paper->over_random.mean, -0.5);
  EXPECT_NEAR(paper->over_random.error, std::sqrt(1.0 / 3.0) / 2.0, 1e-12);
  options.num_examples = 2;
  EXPECT_EQ(summarize(options, all)[0].find("paper", 0.5)->score.count, 2);
}

}  // namespace
}  // namespace hashevict::eval
