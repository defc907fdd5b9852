// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "commands.hpp"
#include "eval/replay.hpp"
#include "files.hpp"
#include "rule_options.hpp"

namespace hashevict::cli {
namespace {

struct Options {
  std::string trace, out, budget, votes;
  int64_t prompt = 0;
  std::string prefill = "replay";
  int32_t prefill_window = 32;
  RuleOptions rule;

  eval::ReplayOptions parsed() const {
    eval::ReplayOptions options;
    options.budgets = eval::parse_budgets(budget);
    options.config = rule.config();
    options.prompt = prompt;
    options.prefill_mode = parse_option<PrefillMode>("--prefill", prefill);
    options.prefill_window = prefill_window;
    return options;
  }
};

eval::Votes load_votes(const std::string& path, const eval::Trace& trace) {
  engine::ModelConfig shape;
  shape.num_layers = trace.num_layers();
  shape.num_qo_heads = trace.num_qo_heads();
  shape.num_kv_heads = trace.num_kv_heads();
  shape.head_dim = trace.head_dim();
  return eval::Votes::load(path, shape);
}

// Gives votes to a trace; one budget becomes that of each layer.
void apply(const eval::Votes& votes, eval::Trace& trace, eval::ReplayOptions& options) {
  require_votes_fit(options.config, votes);
  for (int32_t layer = 0; layer < trace.num_layers(); ++layer) {
    trace.set_learned(layer, votes.projection(layer), votes.center(layer));
  }
  if (options.budgets.size() != 1) return;
  Config divided = options.config;
  divided.capacity = options.budgets.front().slots_for(trace.num_tokens());
  votes.divide(divided, trace.num_tokens());
  options.budgets.clear();
  for (const int32_t slots : divided.layer_capacities) options.budgets.push_back({false, slots, 0.0});
}

// The rule of the preset recall evicts by chance where nothing was learned.
void require_projections(const eval::Trace& trace, const Config& rule) {
  if (rule.policy != Policy::majority || !eval::takes_votes(rule)) return;
  for (int32_t layer = 0; layer < trace.num_layers(); ++layer) {
    if (trace.layers()[static_cast<size_t>(layer)].projection.present()) continue;
    throw Error(Status::invalid_argument, "--preset recall needs a learned projection: expected --votes, or layers." +
                                              std::to_string(layer) + ".projection in the trace");
  }
}

void run_replay(const Options& options) {
  eval::ReplayOptions parsed = options.parsed();
  require_output(options.out, {options.trace, options.votes});
  eval::Trace trace = eval::Trace::open(options.trace);
  std::optional<eval::Votes> votes;  // outlives what the trace is given of it
  if (!options.votes.empty()) apply(votes.emplace(load_votes(options.votes, trace)), trace, parsed);
  require_projections(trace, parsed.config);
  const eval::ReplayResult result = naming_options([&] { return eval::replay(trace, parsed); });
  eval::write_replay(result, trace, options.out);
  std::string slots;
  for (size_t i = 0; i < parsed.budgets.size(); ++i) {
    slots += (i == 0 ? "" : ", ") + std::to_string(result.layers[i].capacity);
  }
  std::printf("replayed %lld tokens through %s slots in %d layers: %s\n", static_cast<long long>(trace.num_tokens()),
              slots.c_str(), trace.num_layers(), options.out.c_str());
}

constexpr const char* kDescription =
    "Send a trace of a real model through a bounded cache and write what it did.\n\n"
    "The trace holds per layer i: layers.i.q [T, num_qo_heads, head_dim], layers.i.k and layers.i.v\n"
    "[T, num_kv_heads, head_dim], all F32, F16 or BF16, RoPE applied; optionally layers.i.projection F32\n"
    "[bits, head_dim] or [num_kv_heads, bits, head_dim], and layers.i.center F32 [num_kv_heads, head_dim]. What\n"
    "tools/train/calibrate.py learns for the preset recall is a file of its own, for --votes.\n\n"
    "The output holds per layer: slots and victims I32 [T, num_kv_heads], out F32 [T, num_qo_heads, head_dim],\n"
    "positions I32 [num_kv_heads, slots], codes U8 [num_kv_heads, slots, bits / 8].";

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
                   "Slots per KV head; with a dot, a fraction of the tokens; with commas, one a layer")
      ->required();
  command->add_option("--votes", options->votes,
                      "What --preset recall needs, as tools/train/calibrate.py writes it, in place of what the trace "
                      "brings; one budget is then the layers' mean, divided as was learned");
  command->add_option("--prompt", options->prompt, "Leading tokens that come as one prompt")->capture_default_str();
  command->add_option("--prefill", options->prefill, "How a prompt above the budget is reduced: replay|window|recent")
      ->capture_default_str();
  command->add_option("--prefill-window", options->prefill_window, "Queries and tokens of --prefill window")
      ->capture_default_str();
  options->rule.add_to(*command);
  command->callback([options] { run_replay(*options); });
}

}  // namespace hashevict::cli
