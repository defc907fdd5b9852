// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text.hpp"

namespace hashevict::cli {
namespace {

const PolicyResult* find(const Report& report, const std::string& policy, double budget, bool calibrated = false) {
  for (const PolicyResult& result : report.results) {
    if (result.policy == policy && result.budget == budget && result.calibrated == calibrated) return &result;
  }
  return nullptr;
}

std::string budget_list(const std::vector<double>& budgets) {
  std::string text;
  for (size_t i = 0; i < budgets.size(); ++i) {
    if (i > 0) text += i + 1 == budgets.size() ? " and " : ", ";
    text += percent(budgets[i]);
  }
  return text + " %";
}

// Compares a rule's recall with random eviction, so that no reader misses it.
void add_comparison(const Report& report, const std::string& policy, std::vector<std::string>& sentences) {
  std::vector<double> groups[3];
  for (const Comparison& comparison : compare_recall(report, policy, "random")) {
    groups[comparison.verdict() + 1].push_back(comparison.budget);
  }
  const std::string subject = policy == "paper" ? "The paper's rule" : "The rule " + policy;
  if (!groups[0].empty()) {
    sentences.push_back(fmt::format("{} recalls less than random eviction at {}.", subject, budget_list(groups[0])));
  }
  if (!groups[1].empty()) {
    sentences.push_back(
        fmt::format("{} cannot be told from random eviction on recall at {} (within two standard errors).", subject,
                    budget_list(groups[1])));
  }
  if (!groups[2].empty()) {
    sentences.push_back(fmt::format("{} recalls more than random eviction at {}.", subject, budget_list(groups[2])));
  }
}

double smallest_budget(const Report& report) {
  double smallest = 1.0;
  for (const PolicyResult& result : report.results) smallest = std::min(smallest, result.budget);
  return smallest;
}

// The lowest and the highest value at one budget, and the bounded caches that have them.
template <class Value>
std::string spread(const Report& report, double budget, const Value& value) {
  const PolicyResult* low = nullptr;
  const PolicyResult* high = nullptr;
  for (const PolicyResult& result : report.results) {
    if (result.budget != budget || result.calibrated) continue;
    if (low == nullptr || value(result) < value(*low)) low = &result;
    if (high == nullptr || value(result) > value(*high)) high = &result;
  }
  if (low == nullptr) return "nowhere";
  return fmt::format("between {:.3f} ({}) and {:.3f} ({})", value(*low), low->policy, value(*high), high->policy);
}

// States whether running text separates policies less than recall does, by their spreads.
void add_spreads(const Report& report, std::vector<std::string>& sentences) {
  const double budget = smallest_budget(report);
  const auto nats = [](const PolicyResult& result) { return result.nats_per_byte.mean; };
  const auto recall = [](const PolicyResult& result) { return result.recall.mean; };
  const PolicyResult& full = report.results.front();
  sentences.push_back(fmt::format("At {} % running text costs {} nats per byte, with the full cache {:.3f}.",
                                  percent(budget), spread(report, budget, nats), nats(full)));
  sentences.push_back(fmt::format("At {} % recall lies {}, with the full cache it is {:.3f}.", percent(budget),
                                  spread(report, budget, recall), recall(full)));
}

// The difference of two policies' recall, example by example.
Estimate difference(const PolicyResult& a, const PolicyResult& b) {
  std::vector<double> differences(a.recall_samples);
  for (size_t i = 0; i < differences.size(); ++i) differences[i] -= b.recall_samples[i];
  return estimate(differences);
}

// States where calibrated slots change recall.
void add_divisions(const Report& report, std::vector<std::string>& sentences) {
  const double budget = smallest_budget(report);
  std::string groups[3];
  for (const auto& [policy, comparison] : compare_divisions(report, budget)) {
    std::string& group = groups[comparison.verdict() + 1];
    group += fmt::format("{}{} ({:+.3f})", group.empty() ? "" : ", ", policy, comparison.difference.mean);
  }
  constexpr std::string_view kVerdicts[3] = {"less than equal ones",
                                             "neither less nor more than equal ones, within two standard errors,",
                                             "more than equal ones"};
  for (size_t i = 0; i < 3; ++i) {
    if (groups[i].empty()) continue;
    sentences.push_back(
        fmt::format("At {} %, calibrated slots recall {} under {}.", percent(budget), kVerdicts[i], groups[i]));
  }
}

std::string with_error(const Estimate& value) {
  return fmt::format("{:.3f} ± {:.3f}", value.mean, value.error);
}

}  // namespace

Estimate estimate(std::span<const double> samples) {
  Estimate result;
  result.count = static_cast<int64_t>(samples.size());
  if (samples.empty()) return result;
  const auto count = static_cast<double>(samples.size());
  for (const double sample : samples) result.mean += sample / count;
  if (samples.size() < 2) return result;
  double squares = 0.0;
  for (const double sample : samples) squares += (sample - result.mean) * (sample - result.mean);
  result.error = std::sqrt(squares / (count - 1.0) / count);
  return result;
}

int Comparison::verdict() const {
  if (std::abs(difference.mean) <= 2.0 * difference.error) return 0;
  return difference.mean < 0.0 ? -1 : 1;
}

std::vector<Comparison> compare_recall(const Report& report, const std::string& policy, const std::string& other) {
  std::vector<Comparison> comparisons;
  for (const PolicyResult& result : report.results) {
    if (result.policy != policy || result.calibrated) continue;
    const PolicyResult* against = find(report, other, result.budget);
    if (against == nullptr || against->recall_samples.size() != result.recall_samples.size()) continue;
    comparisons.push_back({result.budget, difference(result, *against)});
  }
  return comparisons;
}

std::vector<std::pair<std::string, Comparison>> compare_divisions(const Report& report, double budget) {
  std::vector<std::pair<std::string, Comparison>> comparisons;
  for (const PolicyResult& result : report.results) {
    if (!result.calibrated || result.budget != budget) continue;
    const PolicyResult* against = find(report, result.policy, budget);
    if (against == nullptr) continue;
    comparisons.emplace_back(result.policy, Comparison{budget, difference(result, *against)});
  }
  return comparisons;
}

std::vector<std::string> findings(const Report& report) {
  std::vector<std::string> sentences;
  add_comparison(report, "paper", sentences);
  add_comparison(report, "superseded", sentences);
  add_comparison(report, "recall", sentences);
  add_spreads(report, sentences);
  add_divisions(report, sentences);
  return sentences;
}

std::string to_table(const Report& report) {
  constexpr int kWidth = 24;
  std::string table = fmt::format("{:<{}}{:>8}{:>8}{:>12}{:>18}{:>18}{:>12}\n", "policy", kWidth, "budget", "slots",
                                  "KV bytes", "nats per byte", "recall", "tokens/s");
  for (const PolicyResult& result : report.results) {
    table += fmt::format("{:<{}}{:>7}%{:>8}{:>12}{:>18}{:>18}{:>12.0f}\n",
                         result.policy + (result.calibrated ? ", calibrated" : ""), kWidth, percent(result.budget),
                         result.slots, result.kv_bytes, with_error(result.nats_per_byte), with_error(result.recall),
                         result.tokens_per_second);
  }
  return table;
}

// nlohmann-json finds these.
using Json = nlohmann::ordered_json;

static void to_json(Json& json, const Estimate& value) {
  json = {{"mean", value.mean}, {"standard_error", value.error}, {"samples", value.count}};
}

static void to_json(Json& json, const Settings& settings) {
  json = {{"version", settings.version},
          {"model", settings.model},
          {"num_parameters", settings.num_parameters},
          {"text", settings.text_source},
          {"storage_dtype", settings.storage_dtype},
          {"cpu_target", settings.cpu_target},
          {"num_threads", settings.num_threads},
          {"length", settings.length},
          {"num_texts", settings.num_texts},
          {"num_examples_per_task", settings.num_examples},
          {"seed", settings.seed},
          {"quick", settings.quick},
          {"seconds", settings.seconds}};
}

static void to_json(Json& json, const PolicyResult& result) {
  Json tasks = Json::object();
  for (const TaskScore& score : result.tasks) tasks[std::string(name(score.task))] = score.accuracy;
  json = {{"policy", result.policy},
          {"budget", result.budget},
          {"calibrated", result.calibrated},
          {"slots", result.slots},
          {"kv_bytes", result.kv_bytes},
          {"nats_per_byte", result.nats_per_byte},
          {"nats_over_full", result.nats_over_full},
          {"recall", result.recall},
          {"tasks", std::move(tasks)},
          {"tokens_per_second", result.tokens_per_second}};
}

static void to_json(Json& json, const DividedSlots& divided) {
  json = {{"budget", divided.budget},
          {"length", divided.length},
          {"num_kv_heads", divided.num_kv_heads},
          {"slots", divided.slots}};
}

static void to_json(Json& json, const HeadRetention& head) {
  json = {{"layer", head.layer}, {"head", head.head}, {"evicted_at", head.evicted_at}};
}

static void to_json(Json& json, const Retention& retention) {
  json = {{"policy", retention.policy}, {"calibrated", retention.calibrated}, {"budget", retention.budget},
          {"slots", retention.slots},   {"head_slots", retention.head_slots}, {"answer", printable(retention.answer)},
          {"heads", retention.heads}};
}

static void to_json(Json& json, const RetentionStudy& study) {
  json = {{"prompt", printable(study.example.prompt)},
          {"answer", printable(study.example.answer)},
          {"fact", {study.example.fact.begin, study.example.fact.end}},
          {"num_layers", study.num_layers},
          {"num_kv_heads", study.num_kv_heads},
          {"num_tokens", study.num_tokens},
          {"policies", study.policies}};
}

static void to_json(Json& json, const Continuation& item) {
  json = {{"policy", item.policy},     {"budget", item.budget},        {"slots", item.slots},
          {"kv_bytes", item.kv_bytes}, {"text", printable(item.text)}, {"same_as_full", item.same_as_full}};
}

std::string to_json(const Report& report) {
  Json json = {
      {"settings", report.settings},
      {"findings", findings(report)},
      {"results", report.results},
      {"retention", report.retention},
      {"continuation", {{"prompt", printable(report.continuation.prompt)}, {"policies", report.continuation.policies}}},
      {"divided_slots", report.divided}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace hashevict::cli
