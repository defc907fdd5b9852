// SPDX-License-Identifier: Apache-2.0
#include "summary.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "statistics.hpp"

namespace hashevict::eval {
namespace {

// Which example a sample is of: task, seed, index.
using ExampleKey = std::tuple<std::string, uint64_t, int32_t>;
using Samples = std::map<ExampleKey, Sample>;
// By section, policy and budget.
using AllSamples = std::map<std::tuple<std::string, std::string, double>, Samples>;

std::string section_of(const Measurement& m) {
  return m.what == kText ? std::string(kText) : std::string(name(m.mode));
}

// Values by task, in order of the tasks' names.
template <class Value>
std::map<std::string, std::vector<double>> by_task(const Samples& samples, const Value& value) {
  std::map<std::string, std::vector<double>> tasks;
  for (const auto& [key, sample] : samples) {
    if (const std::optional<double> v = value(key, sample)) tasks[std::get<0>(key)].push_back(*v);
  }
  return tasks;
}

template <class Value>
Estimate estimate_of(const Samples& samples, const Value& value) {
  std::vector<std::vector<double>> strata;
  for (const auto& [task, values] : by_task(samples, value)) strata.push_back(values);
  return stratified(strata);
}

Estimate difference(const Samples& samples, const Samples* other) {
  if (other == nullptr) return {};
  return estimate_of(samples, [other](const ExampleKey& key, const Sample& sample) -> std::optional<double> {
    const auto match = other->find(key);
    if (match == other->end()) return std::nullopt;
    return sample.score - match->second.score;
  });
}

const Samples* lookup(const AllSamples& all, const std::string& section, const std::string& policy, double budget) {
  const auto found = all.find({section, policy, budget});
  return found == all.end() ? nullptr : &found->second;
}

Cell make_cell(const AllSamples& all, const std::string& section, const PolicyChoice& choice, double budget,
               const Samples& samples) {
  const auto score = [](const ExampleKey&, const Sample& sample) { return std::optional(sample.score); };
  Cell cell;
  cell.choice = choice;
  cell.budget = budget;
  cell.slots = samples.begin()->second.slots;
  cell.score = estimate_of(samples, score);
  cell.lost = estimate_of(samples, [](const ExampleKey&, const Sample& s) { return std::optional(s.lost); });
  cell.over_full = difference(samples, lookup(all, section, "full", 1.0));
  cell.over_random = difference(samples, lookup(all, section, "random", budget));
  if (const Samples* recall = lookup(all, section, std::string(kCompared), budget)) {
    cell.under_recall = difference(*recall, &samples);
  }
  for (const auto& [task, values] : by_task(samples, score)) cell.tasks.emplace_back(task, estimate(values));
  return cell;
}

}  // namespace

const Cell* Section::find(const std::string& policy, double budget) const {
  for (const Cell& cell : cells) {
    if (cell.choice.name() == policy && cell.budget == budget) return &cell;
  }
  return nullptr;
}

std::vector<Section> summarize(const EvalOptions& options, const std::vector<Measurement>& measurements) {
  const auto wanted = [&options](const Measurement& m) {
    const auto& tasks = options.tasks;
    const bool task = m.what == kText
                          ? options.running_text
                          : std::any_of(tasks.begin(), tasks.end(), [&](Task t) { return name(t) == m.what; });
    return task && m.index < options.num_examples;
  };
  AllSamples all;
  for (const Measurement& m : measurements) {
    if (wanted(m)) all[{section_of(m), m.policy, m.budget}][{m.what, m.seed, m.index}] = m.sample;
  }
  std::vector<Section> sections;
  std::vector<std::string> names;
  for (const Mode mode : options.modes) names.emplace_back(name(mode));
  if (options.running_text) names.emplace_back(kText);
  for (const std::string& section_name : names) {
    Section section{section_name, {}};
    const auto add = [&](const PolicyChoice& choice, double budget) {
      const Samples* samples = lookup(all, section_name, choice.name(), budget);
      if (samples != nullptr && section.find(choice.name(), budget) == nullptr) {
        section.cells.push_back(make_cell(all, section_name, choice, budget, *samples));
      }
    };
    for (const PolicyChoice& choice : options.policies) {
      for (const double budget : options.budgets) add(choice, choice.is_full() ? 1.0 : budget);
    }
    for (const PolicyChoice& choice : options.variants) add(choice, choice.is_full() ? 1.0 : kVariantBudget);
    if (!section.cells.empty()) sections.push_back(std::move(section));
  }
  return sections;
}

std::vector<Cost> measure_costs(const Runtime& runtime, const EvalOptions& options) {
  const Config shape = harness_shape(runtime.model.config());
  const std::string_view text = std::string_view(options.text).substr(0, static_cast<size_t>(options.length) - 1);
  std::vector<Cost> costs;
  for (const PolicyChoice& choice : options.policies) {
    if (choice.row->configure == nullptr || choice.row->prompts_only) continue;
    for (const double budget : choice.is_full() ? std::vector<double>{1.0} : options.budgets) {
      const ByteModel bytes = ByteModel::of(choice, shape);
      Cost cost{choice.name(), budget, bytes.slots(budget, options.length, shape), bytes.slot, 0, 0.0};
      Config config = library_config(runtime, choice, cost.slots, options.length);
      cost.kv_bytes = bytes.total(config);
      config.max_batch_tokens = static_cast<int64_t>(kBatchTokens);
      cost.tokens_per_second = tokens_per_second(runtime, config, text, static_cast<size_t>(options.num_timed));
      costs.push_back(cost);
    }
  }
  return costs;
}

}  // namespace hashevict::eval
