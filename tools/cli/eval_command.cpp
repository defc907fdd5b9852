// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>

#include "commands.hpp"
#include "engine/embedded_model.hpp"
#include "eval/budget.hpp"
#include "eval/quality/evaluation.hpp"
#include "eval/quality/policy_table.hpp"
#include "eval/votes.hpp"
#include "files.hpp"
#include "progress_line.hpp"
#include "rule_options.hpp"

namespace hashevict::cli {
namespace {

// Every policy: what the library does, what it is compared with, and the bounds. Every task, and text.
constexpr const char* kAll = "all";
constexpr const char* kVariants =
    "paper-8,paper-32,paper-64,paper-128,superseded-8,superseded-16,superseded-32,superseded-128,random-ends,"
    "window-ends,paper-ends,authors-ends,superseded-ends,key_norm-ends,mean-ends,majority-ends,h2o-ends,"
    "scissorhands-ends,tova-ends,snapkv-ends,rkv-ends,keydiff-ends,exact_angle-ends";

struct Options {
  std::string out = "hashevict-eval";
  std::string seeds = "dev";
  std::string policies = kAll;
  std::string variants = kVariants;
  std::string budgets = "1.0,0.9,0.7,0.5,0.3,0.2,0.1";
  std::string tasks = kAll;
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

constexpr std::array kModes = {eval::Mode::streamed, eval::Mode::known, eval::Mode::generated};
constexpr std::array kSeedSets = {eval::SeedSet::dev, eval::SeedSet::test};

template <class Range>
std::string names_of(const Range& all) {
  std::string names;
  for (const auto value : all) names.append(names.empty() ? "" : " ").append(eval::name(value));
  return names;
}

std::string names_of_tasks() {
  return names_of(eval::kTasks).append(" ").append(eval::kText).append(" ").append(kAll);
}

[[noreturn]] void refuse(const std::string& option, const std::string& item, const std::string& allowed) {
  throw Error(Status::invalid_argument, option + ": '" + item + "' is not one of " + allowed);
}

// The value of a name, taken from a table of all there are.
template <class Range>
auto parse_one(const std::string& option, const std::string& item, const Range& all) {
  const auto found = std::find_if(std::begin(all), std::end(all), [&](auto v) { return eval::name(v) == item; });
  if (found == std::end(all)) refuse(option, item, names_of(all));
  return *found;
}

template <class Value>
void add_once(std::vector<Value>& values, Value value) {
  if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
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

std::vector<eval::Mode> parse_modes(const std::string& list) {
  std::vector<eval::Mode> modes;
  for (const std::string& item : split("--modes", list)) add_once(modes, parse_one("--modes", item, kModes));
  return modes;
}

void parse_tasks(const std::string& list, eval::EvalOptions& options) {
  options.tasks.clear();
  options.running_text = false;
  for (const std::string& item : split("--tasks", list)) {
    const auto is_named = [&](eval::Task task) { return item == kAll || eval::name(task) == item; };
    if (item == eval::kText || item == kAll) {
      options.running_text = true;
    } else if (std::none_of(eval::kTasks.begin(), eval::kTasks.end(), is_named)) {
      refuse("--tasks", item, names_of_tasks());
    }
    for (const eval::Task task : eval::kTasks) {
      if (is_named(task)) add_once(options.tasks, task);
    }
  }
}

eval::EvalOptions make_options(const Options& options) {
  eval::EvalOptions parsed;
  parsed.text = options.text.empty() ? std::string(engine::embedded_sample_text()) : read_file(options.text);
  if (!options.text.empty()) parsed.text_source = options.text;
  if (!options.model.empty()) parsed.model = options.model;
  parsed.seed_set = parse_one("--seeds", options.seeds, kSeedSets);
  parsed.policies = eval::parse_policies(options.policies);
  if (options.variants != "none") parsed.variants = eval::parse_policies(options.variants);
  parsed.budgets = parse_budgets(options.budgets);
  parsed.modes = parse_modes(options.modes);
  parse_tasks(options.tasks, parsed);
  parsed.num_examples = options.examples;
  parsed.length = options.length;
  if (options.quick) parsed.num_timed = 8;
  return parsed;
}

// What --quick stands for, unless it was asked for otherwise.
void apply_quick(const CLI::App& command, Options& options) {
  const auto is_given = [&command](const char* option) { return command.get_option(option)->count() > 0; };
  if (!is_given("--examples")) options.examples = 1;
  if (!is_given("--length")) options.length = 256;
  if (!is_given("--budgets")) options.budgets = "0.5,0.3";
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
  const eval::Evaluation evaluation = evaluate(
      runtime, parsed, folder,
      [&](std::string_view file, std::string_view content) { write_file(folder / file, content); },
      [&](std::string_view what, double share) { line.show(what, share); });
  line.finish();
  std::printf("%s\n%s\n", (folder / "tables.md").c_str(), (folder / "retention.html").c_str());
  if (evaluation.figures.empty()) {
    std::fputs(
        "no figures were drawn: they show policies beside the full cache, so --policies wants full and another\n",
        stderr);
  }
}

constexpr const char* kDescription =
    "Measure recall, text, attention lost, memory and speed of eviction policies; write tables, figures and a page.\n\n"
    "A run that was stopped goes on where it was when started again with the same folder.";

// Policies and tasks by name, below the options.
std::string names_text() {
  std::string text = "Policies (-8 to -128 at the end of a name: as many bits; -ends: 10 % protected at both ends):\n";
  for (const eval::PolicyRow& row : eval::policy_table()) {
    std::string line = "  ";
    line.append(row.name).resize(22, ' ');
    text.append(line).append(row.description).append("\n");
  }
  text.append("Tasks: ").append(names_of_tasks());
  return text.append("\nModes: ").append(names_of(kModes)).append(" (needle alone); text is always streamed");
}

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
  command->add_option("--tasks", options->tasks, "Recall tasks, text, or all")->capture_default_str();
  command->add_option("--modes", options->modes, "When the question is known")->capture_default_str();
  command->add_option("--examples", options->examples, "Examples a task, mode and seed (three seeds a set)")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--length", options->length, "Tokens of a sequence")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--text", options->text, "Text file for running text and filler; default: the built-in sample");
  command->add_option("--model", options->model, "Folder of a byte-level Llama in place of the built-in model")
      ->check(CLI::ExistingPath);
  command->add_option("--votes", options->votes, "What `recall` has learned for --model (tools/train/calibrate.py)");
  command->add_option("--threads", options->threads, "Threads; 0: all there are")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  command->add_flag("--quick", options->quick,
                    "To see that it works: 1 example, 256 tokens, budgets 0.5,0.3, where these are not given");
  command->footer(names_text());
  command->callback([command, options] {
    if (options->quick) apply_quick(*command, *options);
    run_eval(*options);
  });
}

}  // namespace hashevict::cli
