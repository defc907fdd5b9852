// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <string>

#include "commands.hpp"
#include "eval/replay.hpp"
#include "files.hpp"
#include "rule_options.hpp"

namespace hashevict::cli {
namespace {

struct Options {
  std::string trace, out, budget;
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

void run_replay(const Options& options) {
  const eval::ReplayOptions parsed = options.parsed();
  require_output(options.out, {options.trace});
  const eval::Trace trace = eval::Trace::open(options.trace);
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
    "[bits, head_dim] or [num_kv_heads, bits, head_dim], and layers.i.center F32 [num_kv_heads, head_dim], as\n"
    "tools/train/calibrate.py learns them for the preset recall. The output holds per layer: slots and victims I32 [T, "
    "num_kv_heads],\n"
    "out F32 [T, num_qo_heads, head_dim], positions I32 [num_kv_heads, slots], codes U8 [num_kv_heads, slots, bits / "
    "8].";

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
  command->add_option("--prompt", options->prompt, "Leading tokens that come as one prompt")->capture_default_str();
  command->add_option("--prefill", options->prefill, "How a prompt above the budget is reduced: replay|window|recent")
      ->capture_default_str();
  command->add_option("--prefill-window", options->prefill_window, "Queries and tokens of --prefill window")
      ->capture_default_str();
  options->rule.add_to(*command);
  command->callback([options] { run_replay(*options); });
}

}  // namespace hashevict::cli
