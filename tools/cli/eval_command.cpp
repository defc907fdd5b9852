// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "commands.hpp"
#include "engine/embedded_model.hpp"
#include "eval/budget.hpp"
#include "eval/quality/evaluation.hpp"
#include "eval/votes.hpp"
#include "files.hpp"
#include "progress_line.hpp"
#include "rule_options.hpp"

namespace hashevict::cli {
namespace {

// Shown in full: what the library does, what it is compared with, and the bounds.
constexpr const char* kPolicies = "all";
constexpr const char* kVariants =
    "paper-8,paper-32,paper-64,paper-128,superseded-8,superseded-16,superseded-32,superseded-128,random-ends,"
    "window-ends,paper-ends,authors-ends,superseded-ends,key_norm-ends,mean-ends,majority-ends,h2o-ends,"
    "scissorhands-ends,tova-ends,snapkv-ends,rkv-ends,keydiff-ends,exact_angle-ends";

struct Options {
  std::string out = "hashevict-eval";
  std::string seeds = "dev";
  std::string policies = kPolicies;
  std::string variants = kVariants;
  std::string budgets = "1.0,0.9,0.7,0.5,0.3,0.2,0.1";
  std::string tasks = "all";
  std::string modes = "streamed,known,generated";
  std::string text, model, votes;
  int32_t examples = 2;
  int32_t length = 1024;
  int32_t threads = 0;
  bool quick = false;
};

std::vector<std::string> split(const std::string& option, const std::string& list) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    items.push_back(list.substr(begin, end - begin));
    if (items.back().empty()) {
      throw Error(Status::invalid_argument, option + ": expected one or more, with commas between them");
    }
    begin = end + 1;
  }
  return items;
}

// The values of names, taken from a table of all there are.
template <class Range>
auto parse_list(const std::string& option, const std::string& list, const Range& all) {
  std::vector<std::decay_t<decltype(*std::begin(all))>> values;
  for (const std::string& item : split(option, list)) {
    const auto found = std::find_if(std::begin(all), std::end(all), [&](auto v) { return eval::name(v) == item; });
    if (found == std::end(all)) {
      std::string message = option;
      message.append(": '").append(item).append("' is not one of");
      for (const auto value : all) message.append(" ").append(eval::name(value));
      throw Error(Status::invalid_argument, message);
    }
    if (std::find(values.begin(), values.end(), *found) == values.end()) values.push_back(*found);
  }
  return values;
}

std::vector<double> parse_budgets(const std::string& list) {
  std::vector<double> budgets;
  for (const std::string& item : split("--budgets", list)) {
    const eval::Budget budget = eval::parse_budget(item);
    if (!budget.is_fraction) {
      throw Error(Status::invalid_argument, "--budgets: '" + item + "' is not a fraction of the full cache's bytes");
    }
    budgets.push_back(budget.fraction);
  }
  std::sort(budgets.rbegin(), budgets.rend());
  budgets.erase(std::unique(budgets.begin(), budgets.end()), budgets.end());
  return budgets;
}

void parse_tasks(const std::string& list, eval::EvalOptions& options) {
  if (list == "all") return;
  std::vector<std::string> items = split("--tasks", list);
  options.running_text = std::erase(items, eval::kText) > 0;
  std::string recall;
  for (const std::string& item : items) recall.append(recall.empty() ? "" : ",").append(item);
  options.tasks = items.empty() ? std::vector<eval::Task>{} : parse_list("--tasks", recall, eval::kTasks);
}

eval::EvalOptions make_options(const Options& options) {
  eval::EvalOptions parsed;
  parsed.text = options.text.empty() ? std::string(engine::embedded_sample_text()) : read_file(options.text);
  if (!options.text.empty()) parsed.text_source = options.text;
  if (!options.model.empty()) parsed.model = options.model;
  parsed.seed_set = parse_list("--seeds", options.seeds, std::array{eval::SeedSet::dev, eval::SeedSet::test}).at(0);
  parsed.policies = eval::parse_policies(options.policies);
  if (options.variants != "none") parsed.variants = eval::parse_policies(options.variants);
  parsed.budgets = parse_budgets(options.budgets);
  parsed.modes =
      parse_list("--modes", options.modes, std::array{eval::Mode::streamed, eval::Mode::known, eval::Mode::generated});
  parse_tasks(options.tasks, parsed);
  parsed.num_examples = options.examples;
  parsed.length = options.length;
  if (options.quick) {
    parsed.num_examples = 1;
    parsed.length = 256;
    parsed.num_timed = 8;
    parsed.budgets = {0.5, eval::kVariantBudget};
  }
  return parsed;
}

std::optional<eval::Votes> load_votes(const Options& options, const engine::ModelConfig& model) {
  if (!options.votes.empty()) return eval::Votes::load(options.votes, model);
  if (!options.model.empty()) return std::nullopt;
  return eval::Votes::embedded(model);
}

void run_eval(const Options& options) {
  const eval::EvalOptions parsed = make_options(options);
  const engine::Model model =
      options.model.empty() ? engine::load_embedded_model() : engine::Model::load(options.model);
  const std::optional<eval::Votes> votes = load_votes(options, model.config());
  engine::ThreadPool threads(options.threads);
  const eval::Runtime runtime{model, threads, votes ? &*votes : nullptr};
  validate(runtime, parsed);
  const std::filesystem::path folder = make_folder(options.out);
  ProgressLine line;
  evaluate(
      runtime, parsed, folder,
      [&](std::string_view file, std::string_view content) { write_file(folder / file, content); },
      [&](std::string_view what, double share) { line.show(what, share); });
  line.finish();
  std::printf("%s\n%s\n", (folder / "tables.md").c_str(), (folder / "retention.html").c_str());
}

constexpr const char* kDescription =
    "Measure recall, text, attention lost, memory and speed of eviction policies; write tables, figures and a page.\n\n"
    "A run that was stopped goes on where it was when started again with the same folder.";

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", kDescription);
  const auto options = std::make_shared<Options>();
  command->add_option("--out", options->out, "Folder for all results")->capture_default_str();
  command->add_option("--seeds", options->seeds, "dev, to choose rules on; test, to report them")
      ->capture_default_str();
  command
      ->add_option("--policies", options->policies,
                   "Policies at every budget, or all|reference|library|attention|exact")
      ->capture_default_str();
  command->add_option("--variants", options->variants, "Policies at 30 % only: names with -<bits> and -ends; none")
      ->capture_default_str();
  command->add_option("--budgets", options->budgets, "Shares of the full cache's bytes")->capture_default_str();
  command->add_option("--tasks", options->tasks, "Recall tasks and text")->capture_default_str();
  command->add_option("--modes", options->modes, "When the question is known")->capture_default_str();
  command->add_option("--examples", options->examples, "Examples a task, mode and seed (three seeds a set)")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--length", options->length, "Tokens of a sequence")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--text", options->text, "Text file for running text and filler; default: the built-in sample");
  command->add_option("--model", options->model, "A byte-level Llama in place of the built-in model");
  command->add_option("--votes", options->votes, "What `recall` has learned for --model (tools/train/calibrate.py)");
  command->add_option("--threads", options->threads, "Threads; 0: all there are")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_flag("--quick", options->quick, "One short example of everything: to see that it works");
  command->callback([options] { run_eval(*options); });
}

}  // namespace hashevict::cli
