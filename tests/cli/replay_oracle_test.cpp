// SPDX-License-Identifier: Apache-2.0
// `hashevict replay` against the oracle, through files, on traces drawn afresh for every case: policies, rules,
// prompts. replay_budgets_test.cpp does the same for budgets.
#include <gtest/gtest.h>

#include <string>

#include "cli/names.hpp"
#include "replay_oracle.hpp"

namespace hashevict::test {
namespace {

using Case = ReplayCase;

class ReplayOracle : public testing::TestWithParam<Case> {};

TEST_P(ReplayOracle, FileHoldsWhatTheOracleSays) {
  expect_what_the_oracle_says(GetParam(), seed_of_this_test());
}

std::vector<Case> policies() {
  std::vector<Case> cases;
  for (const auto& [policy, value] : cli::Names<Policy>::kTable) {
    for (const int32_t bits : {8, 16, 32, 64, 128}) {
      Case c =
          replay_case(std::string(policy) + std::to_string(bits),
                      {"--budget", "24", "--bits", std::to_string(bits), "--policy", std::string(policy)}, 24, bits);
      c.config.rule.policy = value;
      cases.push_back(c);
    }
  }
  return cases;
}

std::vector<Case> rules() {
  std::vector<Case> cases;
  for (const auto& [tie, tie_value] : cli::Names<Tie>::kTable) {
    for (const auto& [source, source_value] : cli::Names<HashSource>::kTable) {
      const std::string tie_name = tie == "oldest" ? "Oldest" : "LowestSlot";
      Case c = replay_case(tie_name + "_" + std::string(source),
                           {"--budget=20", "--bits=8", "--tie", std::string(tie), "--hash-source", std::string(source),
                            "--sink", "2", "--recent", "3", "--seed", "77"},
                           20, 8);
      c.config.rule.tie = tie_value;
      c.config.rule.hash_source = source_value;
      c.config.rule.num_sink_tokens = 2;
      c.config.rule.recent_window = 3;
      c.config.rule.seed = 77;
      c.flavour = Flavour::repeated;
      cases.push_back(c);
    }
  }
  return cases;
}

std::vector<Case> prefills() {
  std::vector<Case> cases;
  for (const auto& [mode, value] : cli::Names<PrefillMode>::kTable) {
    for (const auto& [policy, policy_value] : cli::Names<Policy>::kTable) {
      for (const std::size_t prompt : {std::size_t{12}, std::size_t{41}, std::size_t{60}}) {
        Case c = replay_case(std::string(mode) + "_" + std::string(policy) + "_" + std::to_string(prompt),
                             {"--budget", "0.4", "--bits", "32", "--policy", std::string(policy), "--prompt",
                              std::to_string(prompt), "--prefill", std::string(mode), "--prefill-window", "7"},
                             24, 32);
        c.config.rule.policy = policy_value;
        c.prompt = prompt;
        c.mode = static_cast<reference::PrefillMode>(value);
        c.window = 7;
        cases.push_back(c);
      }
    }
  }
  return cases;
}

std::vector<Case> variants() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    Case c = replay_case(dtype == DType::float16 ? "Float16" : "BFloat16", {"--budget", "0.5", "--bits", "16"}, 30, 16);
    c.dtype = c.config.shape.dtype = dtype;
    cases.push_back(c);
  }
  for (const std::string mode : {"replay", "window", "recent"}) {
    Case c = replay_case(
        "Centered_" + mode,
        {"--budget", "24", "--bits", "64", "--centering", "prompt", "--prompt", "40", "--prefill", mode}, 24, 64);
    c.config.rule.centering = Centering::prompt;
    c.flavour = Flavour::biased;
    c.prompt = 40;
    c.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
    cases.push_back(c);
  }
  Case projection = replay_case("OwnProjection", {"--budget", "24", "--bits", "32", "--prompt", "30"}, 24, 32);
  projection.own_projection = true;
  projection.prompt = 30;
  cases.push_back(projection);
  for (const bool per_head : {false, true}) {
    for (const bool centered : {false, true}) {
      Case votes =
          replay_case(std::string("Votes") + (per_head ? "OfEachHead" : "OfAllHeads") + (centered ? "Centered" : ""),
                      {"--budget", "24", "--policy", "votes", "--bits", "32", "--prompt", "30", "--centering",
                       centered ? "fixed" : "none"},
                      24, 32);
      votes.config.rule.policy = Policy::votes;
      votes.config.rule.projection_per_head = per_head ? 1 : 0;
      votes.config.rule.centering = centered ? Centering::fixed : Centering::none;
      votes.own_projection = true;
      votes.own_center = centered;
      votes.prompt = 30;
      cases.push_back(votes);
    }
  }
  for (const std::string mode : {"replay", "window", "recent"}) {
    for (const bool slopes : {false, true}) {
      for (const ImportanceSource source : {ImportanceSource::given, ImportanceSource::key}) {
        if (source == ImportanceSource::given && !slopes) continue;  // among the policies
        Case importance =
            replay_case((source == ImportanceSource::key ? "ImportanceOfKeys" : "Importance") +
                            std::string(slopes ? "WithSlopes_" : "_") + mode,
                        {"--budget", "24", "--policy", "importance", "--prompt", "40", "--prefill", mode}, 24, 16);
        importance.config.rule.policy = Policy::importance;
        importance.config.rule.importance_source = source;
        importance.config.rule.importance_slopes = slopes ? 1 : 0;
        importance.dtype = importance.config.shape.dtype = slopes ? DType::bfloat16 : DType::float32;
        importance.prompt = 40;
        importance.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
        cases.push_back(importance);
      }
    }
  }
  Case authors = replay_case("PresetAuthors", {"--budget", "24", "--preset", "authors"}, 24, 16);
  authors.config.rule.hash_source = HashSource::key;
  authors.config.rule.tie = Tie::lowest_slot;
  cases.push_back(authors);
  Case superseded =
      replay_case("PresetSuperseded", {"--budget", "24", "--preset", "superseded", "--bits", "128"}, 24, 128);
  superseded.config.rule.policy = Policy::superseded;
  superseded.config.rule.recent_fraction = 0.5F;
  cases.push_back(superseded);
  for (const bool has_prompt : {false, true}) {
    Case recall = replay_case(has_prompt ? "PresetRecallWithPrompt" : "PresetRecall",
                              {"--budget", "24", "--preset", "recall", "--prompt", has_prompt ? "40" : "0"}, 24, 32);
    recall.config.rule = Rule{Preset::recall};
    recall.own_projection = recall.own_center = true;
    recall.prompt = has_prompt ? 40 : 0;
    cases.push_back(recall);
  }
  return cases;
}

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Policies, ReplayOracle, testing::ValuesIn(policies()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Rules, ReplayOracle, testing::ValuesIn(rules()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Prefills, ReplayOracle, testing::ValuesIn(prefills()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Variants, ReplayOracle, testing::ValuesIn(variants()), name_of_case);

}  // namespace
}  // namespace hashevict::test
