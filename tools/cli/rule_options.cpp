// SPDX-License-Identifier: Apache-2.0
#include "rule_options.hpp"

#include <array>
#include <string_view>
#include <utility>

#include "budget.hpp"
#include "shared_options.hpp"

namespace hashevict::cli {
namespace {

void require_cuda() {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  if (capabilities.num_cuda_devices > 0) return;
  throw Error(Status::unsupported,
              std::string("--backend cuda: ") + (capabilities.has_cuda_build == 0 ? "this build has no CUDA backend"
                                                                                  : "no CUDA device can be used here"));
}

}  // namespace

void RuleOptions::add_to(CLI::App& command) {
  const std::string group = "Rule";
  command.add_option("--preset", preset_, "Named settings that the options below override: " + all_names<Preset>())
      ->capture_default_str()
      ->group(group);
  command.add_option("--bits", bits_, "Bits of a code: 8, 16, 32, 64 or 128")->group(group);
  command.add_option("--policy", policy_, "Eviction policy: " + all_names<Policy>())->group(group);
  command.add_option("--hash-source", hash_source_, "Codes that policy hash compares with: " + all_names<HashSource>())
      ->group(group);
  command.add_option("--tie", tie_, "Victim among equal scores: " + all_names<Tie>())->group(group);
  command.add_option("--sink", sink_, "First tokens never evicted; with a dot, a fraction of the slots")->group(group);
  command.add_option("--recent", recent_, "Last tokens never evicted; with a dot, a fraction of the slots")
      ->group(group);
  command.add_option("--centering", centering_, "Mean subtracted before hashing: " + all_names<Centering>())
      ->group(group);
  add_seed_option(command, "--seed", seed_, "Seed of the projections and of policy random")->group(group);
  command.add_option("--backend", backend_, "Backend that runs the cache: " + all_names<Backend>())
      ->capture_default_str();
  add_threads_option(command, threads_);
}

Config RuleOptions::config() const {
  Config config;
  config.rule = Rule{parse_option<Preset>("--preset", preset_)};
  if (bits_) config.rule.hash_bits = *bits_;
  if (policy_) config.rule.policy = parse_option<Policy>("--policy", *policy_);
  if (hash_source_) config.rule.hash_source = parse_option<HashSource>("--hash-source", *hash_source_);
  if (tie_) config.rule.tie = parse_option<Tie>("--tie", *tie_);
  if (sink_) {
    const Zone zone = parse_zone(*sink_, "--sink");
    config.rule.num_sink_tokens = zone.tokens;
    config.rule.sink_fraction = zone.fraction;
  }
  if (recent_) {
    const Zone zone = parse_zone(*recent_, "--recent");
    config.rule.recent_window = zone.tokens;
    config.rule.recent_fraction = zone.fraction;
  }
  if (centering_) config.rule.centering = parse_option<Centering>("--centering", *centering_);
  config.placement.backend = parse_option<Backend>("--backend", backend_);
  if (config.placement.backend == Backend::cuda) require_cuda();
  config.rule.seed = seed_;
  config.execution.num_threads = threads_;
  return config;
}

void require_votes_fit(const Config& rule, const Votes& votes) {
  if (!takes_votes(rule)) {
    throw Error(Status::invalid_argument, "--votes: expected --preset recall, whose rule takes them");
  }
  if (votes.hash_bits() == rule.rule.hash_bits) return;
  throw Error(Status::invalid_argument, "--bits = " + std::to_string(rule.rule.hash_bits) + ": expected " +
                                            std::to_string(votes.hash_bits()) + ", as many as the votes have");
}

std::string in_options(std::string message) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kNames = {{
      {"config.execution.num_threads", "--threads"},
      {"budget: ", "--budget: "},
      {"threads = ", "--threads = "},
      {"config.shape.capacity", "--budget: capacity"},
      {"config.shape.capacities", "--budget: capacities"},
      {"config.rule.hash_bits", "--bits"},
      {"config.rule.num_sink_tokens", "--sink"},
      {"config.rule.recent_window", "--recent"},
      {"temperature = ", "--temperature = "},
      {"top_k = ", "--top-k = "},
      {"top_p = ", "--top-p = "},
  }};
  for (const auto& [field, option] : kNames) {
    if (message.starts_with(field)) return message.replace(0, field.size(), option);
  }
  return message;
}

}  // namespace hashevict::cli
