// SPDX-License-Identifier: Apache-2.0
// Budgets of `hashevict replay` against the oracle: one number, a fraction, one a layer, one a KV head, and a profile,
// under rules that rank by codes, by importances and by learned votes, on traces drawn afresh for every case.
#include <gtest/gtest.h>

#include <string>

#include "cli/names.hpp"
#include "replay_oracle.hpp"

namespace hashevict::test {
namespace {

using Case = ReplayCase;

struct BudgetCase {
  std::string name, budget;
  std::vector<int32_t> capacities;  ///< by layer and head, for 60 tokens
  bool from_profile = false;        ///< the capacities are those of a profile with a floor of 16
};

const BudgetCase kBudgets[] = {
    {"Slots", "24", {24, 24, 24, 24}},
    {"BeyondTheTrace", "100", {100, 100, 100, 100}},
    {"Fraction", "0.45", {27, 27, 27, 27}},
    {"OfEachLayer", "18,0.5", {18, 18, 30, 30}},
    {"OfEachHead", "18,0.5,17,200", {18, 30, 17, 200}},
    {"OfAProfile", "0.5", {}, true},
};

struct RuleCase {
  std::string name;
  std::vector<std::string> arguments;
  void (*set)(Case& c);  ///< what the arguments mean
};

const RuleCase kRules[] = {
    {"Hash", {"--bits", "16"}, [](Case& c) { c.config.rule.hash_bits = 16; }},
    {"HalfRecent", {"--preset", "superseded"}, [](Case& c) { c.config.rule = Rule{Preset::superseded}; }},
    {"ImportanceGiven", {"--policy", "importance"}, [](Case& c) { c.config.rule.policy = Policy::importance; }},
    {"ImportanceWithSlopes",
     {"--policy", "importance"},
     [](Case& c) {
       c.config.rule.policy = Policy::importance;
       c.config.rule.importance_slopes = 1;
     }},
    {"ImportanceOfKeys",
     {"--policy", "importance"},
     [](Case& c) {
       c.config.rule.policy = Policy::importance;
       c.config.rule.importance_source = ImportanceSource::key;
     }},
    {"ImportanceOfKeysWithSlopes",
     {"--policy", "importance"},
     [](Case& c) {
       c.config.rule.policy = Policy::importance;
       c.config.rule.importance_source = ImportanceSource::key;
       c.config.rule.importance_slopes = 1;
     }},
    {"Votes",
     {"--policy", "votes", "--bits", "32"},
     [](Case& c) {
       c.config.rule.policy = Policy::votes;
       c.config.rule.hash_bits = 32;
       c.config.rule.projection_per_head = 1;
       c.own_projection = true;
     }},
    {"VotesCentered",
     {"--preset", "recall"},
     [](Case& c) {
       c.config.rule = Rule{Preset::recall};
       c.own_projection = c.own_center = true;
     }},
};

std::vector<Case> cases() {
  std::vector<Case> cases;
  uint32_t seed = 400;
  for (const BudgetCase& budget : kBudgets) {
    for (const RuleCase& rule : kRules) {
      for (const std::string prompt : {"0", "41"}) {
        Case c = replay_case(budget.name + "_" + rule.name + "_" + prompt,
                             {"--budget", budget.budget, "--prompt", prompt}, 0, 16);
        c.arguments.insert(c.arguments.end(), rule.arguments.begin(), rule.arguments.end());
        rule.set(c);
        c.prompt = prompt == "0" ? 0 : 41;
        c.config.shape.capacities = budget.capacities;
        if (budget.from_profile) {
          c.profile = draw_profile(c.config, 7, ++seed);
          c.config.shape.capacities = divided_by_hand(c.profile, c.config, 4 * 30, 60, 16);
          c.arguments.insert(c.arguments.end(), {"--floor", "16"});
        }
        cases.push_back(c);
      }
    }
  }
  for (const std::string mode : {"window", "recent"}) {
    Case c = replay_case("OfEachHeadAndPrompt_" + mode,
                         {"--budget", "18,0.5,17,200", "--bits", "16", "--prompt", "40", "--prefill", mode}, 18, 16);
    c.config.shape.capacities = {18, 30, 17, 200};
    c.prompt = 40;
    c.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
    cases.push_back(c);
  }
  return cases;
}

class ReplayBudgets : public testing::TestWithParam<Case> {};

TEST_P(ReplayBudgets, KeepWhatTheOracleKeeps) {
  expect_what_the_oracle_says(GetParam(), seed_of_this_test());
}

INSTANTIATE_TEST_SUITE_P(Replay, ReplayBudgets, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

}  // namespace
}  // namespace hashevict::test
