// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "cli/commands.hpp"
#include "cli/files.hpp"
#include "cli/profile_options.hpp"
#include "cli/rule_options.hpp"
#include "engine/file_mapping.hpp"
#include "replay.hpp"

namespace hashevict::cli {
namespace {

struct Options {
  std::string trace, out, budget, votes;
  int64_t prompt = 0;
  std::string prefill = "replay";
  int32_t prefill_window = 32;
  RuleOptions rule;
  ProfileOptions profile;

  ReplayOptions parsed() const {
    ReplayOptions options;
    options.budgets = parse_budgets(budget);
    options.config = rule.config();
    options.prompt = prompt;
    options.prefill_mode = parse_option<PrefillMode>("--prefill", prefill);
    options.prefill_window = prefill_window;
    return options;
  }
};

engine::ModelConfig shape_of(const Trace& trace) {
  engine::ModelConfig shape;
  shape.num_layers = trace.num_layers();
  shape.num_qo_heads = trace.num_qo_heads();
  shape.num_kv_heads = trace.num_kv_heads();
  shape.head_dim = trace.head_dim();
  return shape;
}

// Replaces the one budget by what a config divides of it among the heads.
template <class Divide>
void divide_budget(const Trace& trace, ReplayOptions& options, const Divide& divide) {
  Config divided = options.config;
  divided.shape.capacity = options.budgets.front().slots_for(trace.num_tokens());
  divide(divided);
  options.budgets.clear();
  for (const int32_t slots : divided.shape.capacities) options.budgets.push_back(Budget::of_slots(slots));
}

// Adds votes to a trace and, unless a profile does it, divides one budget among the layers.
void apply(const Votes& votes, const std::optional<Profile>& profile, Trace& trace, ReplayOptions& options) {
  require_votes_fit(options.config, votes);
  for (int32_t layer = 0; layer < trace.num_layers(); ++layer) {
    trace.set_learned(layer, votes.projection(layer), votes.center(layer));
  }
  if (options.budgets.size() != 1 || profile) return;
  divide_budget(trace, options, [&](Config& config) { votes.divide(config, trace.num_tokens()); });
}

// Divides the budget by a profile, and replaces the trace's learned tensors by those that the rule takes from it.
void apply(const Profile& profile, std::optional<int32_t> floor, Trace& trace, ReplayOptions& options) {
  require_one_mean(options.budgets);
  profile.configure(options.config);
  divide_budget(trace, options, [&](Config& config) { profile.divide(config, trace.num_tokens(), floor); });
  if (!profile.teaches(options.config)) return;
  for (int32_t i = 0; i < trace.num_layers(); ++i) {
    if (options.config.rule.policy == Policy::importance) {
      trace.set_importance_weights(i, profile.importance_weight(i), profile.importance_bias(i));
    } else {
      trace.set_learned(i, profile.projection(i), profile.center(i));
    }
  }
}

// Refuses the preset recall without learned bits, whatever other options change in its rule.
void require_projections(const Trace& trace, const Config& rule) {
  if (rule.rule.projection_kind != ProjectionKind::learned) return;
  for (int32_t layer = 0; layer < trace.num_layers(); ++layer) {
    if (trace.layers()[static_cast<size_t>(layer)].projection.present()) continue;
    throw Error(Status::invalid_argument,
                "--preset recall needs a learned projection: expected --votes, --profile, or layers." +
                    std::to_string(layer) + ".projection in the trace");
  }
}

// The slots of a layer's KV heads: one number, or, where they differ, one a head.
std::string slots_of(const ReplayResult& result, size_t layer) {
  const std::vector<int32_t>& heads = result.layers[layer].capacities;
  if (std::set(heads.begin(), heads.end()).size() == 1) return std::to_string(heads.front());
  std::string text;
  for (const int32_t slots : heads) text += (text.empty() ? "" : "/") + std::to_string(slots);
  return text;
}

void run_replay(const Options& options) {
  ReplayOptions parsed = options.parsed();
  require_output(options.out, {options.trace, options.votes, options.profile.file});
  const Learned learned = options.votes.empty() ? Learned::read : Learned::passed_over;
  Trace trace = Trace::open(options.trace, learned);
  std::optional<Votes> votes;  // outlives the trace's views of it
  const std::optional<Profile> profile = options.profile.load(shape_of(trace));
  if (!options.votes.empty()) {
    if (profile) require_one_teacher(*profile, parsed.config);
    apply(votes.emplace(Votes::load(options.votes, shape_of(trace))), profile, trace, parsed);
  }
  if (profile) apply(*profile, options.profile.floor, trace, parsed);
  require_projections(trace, parsed.config);
  const ReplayResult result = naming_options([&] { return replay(trace, parsed); });
  engine::FileMapping::require_unchanged();
  write_replay(result, trace, options.out);
  const bool alike = parsed.budgets.size() == 1;
  std::string slots;
  for (size_t i = 0; i < (alike ? 1 : result.layers.size()); ++i) slots += (i == 0 ? "" : ", ") + slots_of(result, i);
  std::printf("replayed %lld tokens through %s slots in %d layers: %s\n", static_cast<long long>(trace.num_tokens()),
              slots.c_str(), trace.num_layers(), options.out.c_str());
}

constexpr const char* kDescription =
    "Send a trace of a real model through a bounded cache and write each step's slot, victim and attention.\n\n"
    "The trace holds per layer i: layers.i.q [T, num_qo_heads, head_dim], layers.i.k and layers.i.v\n"
    "[T, num_kv_heads, head_dim], all F32, F16 or BF16, RoPE applied; optionally layers.i.projection F32\n"
    "[bits, head_dim] or [num_kv_heads, bits, head_dim], and layers.i.center F32 [num_kv_heads, head_dim]. Policy\n"
    "importance needs layers.i.importance F32 [T, num_kv_heads], or layers.i.importance.weight F32\n"
    "[num_kv_heads, head_dim] and layers.i.importance.bias F32 [num_kv_heads]; optionally\n"
    "layers.i.importance_slope F32 [T, num_kv_heads], the change per later token. Every element must be finite. Other\n"
    "names are refused within `layers.` and passed over elsewhere. The votes of the preset recall are a file of their\n"
    "own, which lab/train/calibrate.py writes: --votes.\n\n"
    "The output holds per layer: slots and victims I32 [T, num_kv_heads], out F32 [T, num_qo_heads, head_dim],\n"
    "positions I32 [num_kv_heads, slots], codes U8 [num_kv_heads, slots, bits / 8]; slots are those of the head with\n"
    "the most, and a head with fewer has positions of -1 behind them.";

}  // namespace

void add_replay(CLI::App& app) {
  CLI::App* command = app.add_subcommand("replay", kDescription);
  const auto options = std::make_shared<Options>();
  command->add_option("--trace", options->trace, "Trace to read (safetensors)")->required();
  command
      ->add_option("--out", options->out,
                   "File to write (safetensors), only if all goes well; a regular file, or a link to one")
      ->required();
  command
      ->add_option("--budget", options->budget,
                   "Slots per KV head; with a dot, a fraction of the tokens; with commas, one a layer, or one a "
                   "KV head, layer by layer; with --profile, the mean over the heads")
      ->required();
  command->add_option("--votes", options->votes,
                      "Votes for --preset recall, written by lab/train/calibrate.py, instead of the trace's "
                      "projections; one budget is then the layers' mean, which the votes divide");
  command->add_option("--prompt", options->prompt, "Leading tokens that form the prompt, 0 to all")
      ->capture_default_str();
  command->add_option("--prefill", options->prefill, "Reduction of a prompt beyond the budget: replay|window|recent")
      ->capture_default_str();
  command->add_option("--prefill-window", options->prefill_window, "Queries and tokens of --prefill window, 1 or more")
      ->capture_default_str();
  options->profile.add_to(*command);
  options->rule.add_to(*command);
  command->callback([options] { run_replay(*options); });
}

}  // namespace hashevict::cli
