// SPDX-License-Identifier: Apache-2.0
// Parts of the demo's report: estimates and findings, charts, texts.
#include "cli/demo/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/demo/chart.hpp"
#include "cli/demo/divided_slots.hpp"
#include "cli/demo/text.hpp"
#include "cli/terminal.hpp"

namespace hashevict::cli {
namespace {

TEST(Estimate, IsMeanAndStandardError) {
  const double samples[] = {1.0, 2.0, 3.0, 6.0};
  const Estimate result = estimate(samples);
  EXPECT_DOUBLE_EQ(result.mean, 3.0);
  EXPECT_DOUBLE_EQ(result.error, std::sqrt((4.0 + 1.0 + 0.0 + 9.0) / 3.0 / 4.0));
  EXPECT_EQ(result.count, 4);
}

TEST(Estimate, OfOneSampleHasNoError) {
  const double samples[] = {2.0};
  EXPECT_EQ(estimate(samples).error, 0.0);
  EXPECT_EQ(estimate({}).count, 0);
}

PolicyResult result_of(const std::string& policy, double budget, std::vector<double> recall) {
  PolicyResult result;
  result.policy = policy;
  result.budget = budget;
  result.recall_samples = std::move(recall);
  result.recall = estimate(result.recall_samples);
  return result;
}

Report report_with(std::vector<double> paper, std::vector<double> random) {
  Report report;
  report.results = {result_of("full", 1.0, std::vector<double>(paper.size(), 1.0)),
                    result_of("paper", 0.3, std::move(paper)), result_of("random", 0.3, std::move(random))};
  return report;
}

TEST(Findings, SayThatThePapersRuleLoses) {
  const Report report = report_with({0, 0, 0, 0, 0, 0, 0, 1}, {1, 1, 1, 1, 0, 1, 1, 1});
  EXPECT_EQ(compare_recall(report, "paper", "random").at(0).verdict(), -1);
  EXPECT_THAT(findings(report), testing::Contains("The paper's rule recalls less than random eviction at 30 %."));
}

TEST(Findings, SayThatThePapersRuleWins) {
  const Report report = report_with({1, 1, 1, 1, 0, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 1});
  EXPECT_THAT(findings(report), testing::Contains("The paper's rule recalls more than random eviction at 30 %."));
}

TEST(Findings, SayWhereNothingCanBeTold) {
  const Report report = report_with({1, 0, 1, 0}, {1, 1, 0, 0});
  EXPECT_THAT(findings(report), testing::Contains(testing::StartsWith("The paper's rule cannot be told from random")));
}

Report report_with_profile() {
  Report report = report_with({0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 1, 1, 1});
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) report.results.push_back(report.results[i]);
  report.results[3].recall_samples = {1, 1, 1, 1, 0, 1, 1, 1};
  for (const std::size_t i : {std::size_t{3}, std::size_t{4}}) report.results[i].calibrated = true;
  report.divided = {0.3, 100, 2, {100, 20, 0, 30}};
  return report;
}

TEST(Findings, SayWhatCalibratedSlotsGain) {
  const Report report = report_with_profile();
  EXPECT_THAT(findings(report),
              testing::Contains("At 30 %, calibrated slots recall more than equal ones under paper (+0.750)."));
  EXPECT_THAT(findings(report),
              testing::Contains("At 30 %, calibrated slots recall neither less nor more than equal ones, within two "
                                "standard errors, under random (+0.000)."));
  EXPECT_EQ(compare_recall(report, "paper", "random").size(), 1U) << "equal capacities alone";
}

TEST(Table, NamesCalibratedRows) {
  const std::string table = to_table(report_with_profile());
  EXPECT_THAT(table, testing::HasSubstr("\npaper  "));
  EXPECT_THAT(table, testing::HasSubstr("\npaper, calibrated "));
}

TEST(DividedSlots, AreBarsOfEachHead) {
  const std::string html = divided_slots_html(report_with_profile().divided);
  EXPECT_THAT(html, testing::HasSubstr("30 % of 100 tokens"));
  EXPECT_THAT(html, testing::HasSubstr("<title>layer 0, head 1: 20 slots</title>"));
  EXPECT_THAT(html, testing::HasSubstr("<title>layer 1, head 1: 30 slots</title>"));
}

Chart chart_with(std::initializer_list<double> values) {
  Chart chart;
  chart.full.mean = *values.begin();
  Chart::Line line{"paper", false, {}};
  for (const double value : values) line.points.push_back({0.5, {value, 0.0, 1}});
  chart.lines.push_back(line);
  return chart;
}

TEST(Chart, AxisHoldsAllValues) {
  for (const auto& values :
       {std::initializer_list<double>{1.156, 1.18}, {0.0, 1.0}, {2.0, 2.0}, {1.3, 1.439}, {9.99, 10.01}}) {
    Chart chart = chart_with(values);
    fit_axis(chart);
    for (const double value : values) {
      EXPECT_LE(chart.y_low, value);
      EXPECT_GE(chart.y_high, value);
    }
  }
}

TEST(Chart, AxisFiguresAreExactAtItsDecimals) {
  Chart chart = chart_with({1.156, 1.18});
  fit_axis(chart);
  const double scale = std::pow(10.0, chart.decimals);
  for (int i = 0; i <= 4; ++i) {
    const double figure = scale * (chart.y_low + (chart.y_high - chart.y_low) * i / 4);
    EXPECT_NEAR(figure, std::round(figure), 1e-6);
  }
}

TEST(Chart, EveryPolicyHasAMarkerOfItsOwn) {
  EXPECT_NE(marker("paper", 0, 0), marker("superseded", 0, 0));
  EXPECT_NE(marker("paper", 0, 0), marker("random", 0, 0));
  EXPECT_NE(marker("window", 0, 0), marker("random", 0, 0));
}

TEST(Text, PrintableReplacesWhatIsNotAscii) {
  EXPECT_EQ(printable("a\n\x01\xc3~"), "a\n··~");
}

TEST(Text, HtmlEscapesMarkup) {
  EXPECT_EQ(escape_html("<a b=\"&\">"), "&lt;a b=&quot;&amp;&quot;&gt;");
}

TEST(Text, LeadingBytesThatAgreeAreCounted) {
  EXPECT_EQ(num_shared("abcdef", "abcxef"), 3U);
  EXPECT_EQ(num_shared("abcdef", "abcdef"), 6U);
  EXPECT_EQ(num_shared("abcdef", "xbcdef"), 0U);
  EXPECT_EQ(num_shared("abcdef", "abc"), 3U);
}

TEST(Text, ColumnsStandSideBySide) {
  EXPECT_EQ(side_by_side("left", "abcdefgh\nij", "right", "xy", 6),
            "left   | right\n"
            "----   | -----\n"
            "abcdef | xy\n"
            "gh     | \n"
            "ij     | \n");
}

TEST(Text, OneLineShowsNewlines) {
  EXPECT_EQ(one_line("a\nb"), "a⏎b");
}

}  // namespace
}  // namespace hashevict::cli
