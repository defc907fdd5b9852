// SPDX-License-Identifier: Apache-2.0
#include "eval/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hashevict::eval {
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

}  // namespace
}  // namespace hashevict::eval
