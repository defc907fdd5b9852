// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <optional>

#include "cli/budget.hpp"
#include "cli/files.hpp"
#include "cli/run.hpp"
#include "cli/shared_options.hpp"
#include "cli/terminal.hpp"
#include "cli/votes.hpp"
#include "engine/embedded_model.hpp"
#include "engine/file_mapping.hpp"
#include "experiment.hpp"

namespace hashevict::lab {
namespace {

// Every policy. Every task, and text.
constexpr const char* kAll = "all";
struct Options {
  std::string out = "hashevict-eval";
  std::string seeds = "dev";
  std::string policies = kAll;
  std::string budgets = "1.0,0.9,0.7,0.5,0.3,0.2,0.1";
  std::string tasks = kAll;
  std::string modes = "streamed,known";
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

constexpr std::array kModes = {Mode::streamed, Mode::known};
constexpr std::array kSeedSets = {SeedSet::dev, SeedSet::test};

template <class Range>
std::string names_of(const Range& all) {
  std::string names;
  for (const auto value : all) names.append(names.empty() ? "" : " ").append(name(value));
  return names;
}

std::string names_of_tasks() {
  return names_of(cli::kTasks).append(" ").append(kText).append(" ").append(kAll);
}

[[noreturn]] void refuse(const std::string& option, const std::string& item, const std::string& allowed) {
  throw Error(Status::invalid_argument, option + ": '" + item + "' is not one of " + allowed);
}

// Looks up a name in a table.
template <class Range>
auto parse_one(const std::string& option, const std::string& item, const Range& all) {
  const auto found = std::find_if(std::begin(all), std::end(all), [&](auto v) { return name(v) == item; });
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
    const cli::Budget budget = cli::parse_budget(item);
    if (!budget.is_fraction) {
      throw Error(Status::invalid_argument, "--budgets: '" + item + "' is not a fraction of the full cache's bytes");
    }
    budgets.push_back(budget.fraction.value());
  }
  std::sort(budgets.rbegin(), budgets.rend());
  budgets.erase(std::unique(budgets.begin(), budgets.end()), budgets.end());
  return budgets;
}

std::vector<Mode> parse_modes(const std::string& list) {
  std::vector<Mode> modes;
  for (const std::string& item : split("--modes", list)) add_once(modes, parse_one("--modes", item, kModes));
  return modes;
}

void parse_tasks(const std::string& list, EvalOptions& options) {
  options.tasks.clear();
  options.running_text = false;
  for (const std::string& item : split("--tasks", list)) {
    const auto is_named = [&](cli::Task task) { return item == kAll || name(task) == item; };
    if (item == kText || item == kAll) {
      options.running_text = true;
    } else if (std::none_of(cli::kTasks.begin(), cli::kTasks.end(), is_named)) {
      refuse("--tasks", item, names_of_tasks());
    }
    for (const cli::Task task : cli::kTasks) {
      if (is_named(task)) add_once(options.tasks, task);
    }
  }
}

EvalOptions make_options(const Options& options) {
  EvalOptions parsed;
  parsed.text = options.text.empty() ? std::string(engine::embedded_sample_text()) : cli::read_file(options.text);
  if (!options.text.empty()) parsed.text_source = options.text;
  if (!options.model.empty()) parsed.model = options.model;
  parsed.seed_set = parse_one("--seeds", options.seeds, kSeedSets);
  parsed.policies = parse_policies(options.policies);
  parsed.budgets = parse_budgets(options.budgets);
  parsed.modes = parse_modes(options.modes);
  parse_tasks(options.tasks, parsed);
  parsed.num_examples = options.examples;
  parsed.length = options.length;
  return parsed;
}

// --quick reduces the settings that no option gives.
void apply_quick(const CLI::App& command, Options& options) {
  const auto is_given = [&command](const char* option) { return command.get_option(option)->count() > 0; };
  if (!is_given("--examples")) options.examples = 1;
  if (!is_given("--length")) options.length = 256;
  if (!is_given("--budgets")) options.budgets = "0.5,0.3";
}

std::optional<cli::Votes> load_votes(const Options& options, const engine::ModelConfig& model) {
  if (!options.votes.empty()) return cli::Votes::load(options.votes, model);
  if (!options.model.empty()) return std::nullopt;
  return cli::Votes::embedded(model);
}

void run_eval(const Options& options) {
  const EvalOptions parsed = make_options(options);
  const engine::Model model = cli::load_model(options.model);
  const std::optional<cli::Votes> votes = load_votes(options, model.config());
  engine::ThreadPool threads(options.threads);
  const cli::Runtime runtime{model, threads, votes ? &*votes : nullptr};
  validate(runtime, parsed);
  engine::FileMapping::require_unchanged();  // model and votes are copied by now
  cli::require_outputs(options.out, {kResultFile}, {options.text, options.model, options.votes});
  const std::filesystem::path folder = cli::make_folder(options.out);
  cli::ProgressLine line;
  evaluate(runtime, parsed, folder, [&](double share) { line.show("recall and text", share); });
  line.finish();
  std::printf("%s\n", (folder / kResultFile).c_str());
}

constexpr const char* kDescription =
    "Measure recall and likelihood of text under eviction policies. Results are lines of JSON, of which\n"
    "lab/report.py makes tables and figures.\n\n"
    "A run that was stopped goes on where it was when started again with the same folder.";

// Lists policies and tasks below the options.
std::string names_text() {
  std::string text = "Policies:\n";
  for (const PolicyRow& row : policy_table()) {
    std::string line = "  ";
    line.append(row.name).resize(22, ' ');
    text.append(line).append(row.description).append("\n");
  }
  text.append("Tasks: ").append(names_of_tasks());
  return text.append("\nModes: ").append(names_of(kModes)).append("; text is always streamed");
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--out", options.out, "Folder for all results")->capture_default_str();
  app.add_option("--seeds", options.seeds, "dev, to choose rules on; test, to report them")->capture_default_str();
  app.add_option("--policies", options.policies, "Names of policies, or all|reference|library|attention|exact")
      ->capture_default_str();
  app.add_option("--budgets", options.budgets, "Shares of the full cache's bytes")->capture_default_str();
  app.add_option("--tasks", options.tasks, "Recall tasks, text, or all")->capture_default_str();
  app.add_option("--modes", options.modes, "Times at which a policy sees the question")->capture_default_str();
  app.add_option("--examples", options.examples, "Examples a task, mode and seed (three seeds a set)")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--length", options.length, "Tokens of a sequence, up to the model's positions")
      ->capture_default_str();
  app.add_option("--text", options.text, "Text file for running text and filler; default: the built-in sample");
  app.add_option("--model", options.model, "Folder of a byte-level Llama in place of the built-in model");
  app.add_option("--votes", options.votes, "Votes that `recall` learned for --model (lab/train/calibrate.py)");
  cli::add_threads_option(app, options.threads);
  app.add_flag("--quick", options.quick,
               "To see that it works: 1 example, 256 tokens, budgets 0.5,0.3, where these are not given");
  app.footer(names_text());
  app.callback([&app, &options] {
    if (options.quick) apply_quick(app, options);
    run_eval(options);
  });
}

}  // namespace
}  // namespace hashevict::lab

int main(int argc, char** argv) try {
  CLI::App app(hashevict::lab::kDescription, "hashevict_eval");
  hashevict::lab::Options options;
  hashevict::lab::add_options(app, options);
  return hashevict::cli::run(app, argc, argv);
} catch (const std::exception& error) {
  std::fputs(error.what(), stderr);
  return 2;
}
