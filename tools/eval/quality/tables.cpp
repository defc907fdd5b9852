// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "summary.hpp"

namespace hashevict::eval {
namespace {

using nlohmann::ordered_json;

// A Markdown table, line by line.
class Table {
 public:
  explicit Table(const std::vector<std::string>& head) {
    add(head);
    for (size_t i = 0; i < head.size(); ++i) text_ += i == 0 ? "|---|" : "---:|";
    text_ += '\n';
  }
  void add(const std::vector<std::string>& cells) {
    text_ += '|';
    for (const std::string& cell : cells) text_ += " " + cell + " |";
    text_ += '\n';
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string percent(double share) {
  return fmt::format("{:.0f} %", 100.0 * share);
}

// Says how two policies stand on the same examples.
std::string mark(const Estimate& difference, bool low_is_better) {
  if (difference.count == 0 || std::abs(difference.mean) <= 2.0 * difference.error) return "";
  return (difference.mean > 0) != low_is_better ? " ▲" : " ▽";
}

std::string recall_text(const Cell& cell) {
  return fmt::format("{:.1f} ± {:.1f}{}", 100.0 * cell.score.mean, 100.0 * cell.score.error,
                     mark(cell.over_random, false));
}

// A difference of nats per byte, as a share of the full cache's; of a cell that was compared with that.
std::string nats_text(const Cell& cell, const Estimate& difference) {
  const double full = cell.score.mean - cell.over_full.mean;
  return fmt::format("{:+.2f} % ± {:.2f}", 100.0 * difference.mean / full, 100.0 * difference.error / full);
}

std::string text_text(const Cell& cell) {
  if (cell.choice.is_full()) return fmt::format("{:.3f} ± {:.3f}", cell.score.mean, cell.score.error);
  if (cell.over_full.count == 0) return fmt::format("{:.3f} ± {:.3f} nats", cell.score.mean, cell.score.error);
  return nats_text(cell, cell.over_full) + mark(cell.over_random, true);
}

std::string lost_text(const Cell& cell) {
  return fmt::format("{:.1f}", 100.0 * cell.lost.mean);
}

std::vector<std::string> with_budgets(std::string first, const std::vector<double>& budgets) {
  std::vector<std::string> head{std::move(first)};
  for (const double budget : budgets) head.push_back(percent(budget));
  return head;
}

template <class Text>
std::string budget_table(const Section& section, const EvalOptions& options, const Text& text) {
  Table table(with_budgets("policy", options.budgets));
  for (const PolicyChoice& choice : options.policies) {
    std::vector<std::string> line{choice.name()};
    bool any = false;
    for (const double budget : options.budgets) {
      const Cell* cell = section.find(choice.name(), budget);
      any = any || cell != nullptr;
      line.push_back(cell != nullptr ? text(*cell) : "");
    }
    if (choice.is_full() && !any && section.find(choice.name(), 1.0) != nullptr) {
      line = {choice.name(), text(*section.find(choice.name(), 1.0)) + " (at 100 %)"};
      line.resize(options.budgets.size() + 1);
      any = true;
    }
    if (any) table.add(line);
  }
  return table.text();
}

// What kCompared has over the policy at the budget: of the full cache there is one cell only, and no other budget.
std::string difference_text(const Section& section, const PolicyChoice& choice, double budget) {
  const bool is_text = section.name == kText;
  const Cell* cell = section.find(choice.is_full() ? std::string(kCompared) : choice.name(), budget);
  if (cell == nullptr) return "";
  const Estimate& difference = choice.is_full() ? cell->over_full : cell->under_recall;
  if (difference.count == 0 || (is_text && cell->over_full.count == 0)) return "";
  const std::string text = is_text ? nats_text(*cell, difference)
                                   : fmt::format("{:+.1f} ± {:.1f}", 100.0 * difference.mean, 100.0 * difference.error);
  return text + mark(difference, is_text);
}

// Empty where there is nothing to compare.
std::string difference_table(const Section& section, const EvalOptions& options) {
  Table table(with_budgets("policy", options.budgets));
  bool any = false;
  for (const PolicyChoice& choice : options.policies) {
    if (choice.name() == kCompared) continue;
    std::vector<std::string> line{choice.name()};
    for (const double budget : options.budgets) line.push_back(difference_text(section, choice, budget));
    if (std::all_of(line.begin() + 1, line.end(), [](const std::string& text) { return text.empty(); })) continue;
    table.add(line);
    any = true;
  }
  return any ? table.text() : "";
}

// Every task, at the one budget that variants have.
std::string task_table(const Section& section) {
  std::vector<std::string> head{fmt::format("policy at {}", percent(kVariantBudget)), "slots", "all"};
  for (const auto& [task, accuracy] : section.cells.front().tasks) head.push_back(task);
  Table table(head);
  for (const Cell& cell : section.cells) {
    if (cell.budget != kVariantBudget && !cell.choice.is_full()) continue;
    std::vector<std::string> line{cell.choice.name(), std::to_string(cell.slots), recall_text(cell)};
    for (const auto& [task, accuracy] : cell.tasks) line.push_back(fmt::format("{:.0f}", 100.0 * accuracy.mean));
    table.add(line);
  }
  return table.text();
}

std::string variant_text_table(const Section& section) {
  Table table({fmt::format("policy at {}", percent(kVariantBudget)), "over the full cache's nats per byte"});
  for (const Cell& cell : section.cells) {
    if (cell.budget == kVariantBudget) table.add({cell.choice.name(), text_text(cell)});
  }
  return table.text();
}

std::string heading(const std::string& section) {
  if (section == "streamed") return "Recall, the context streamed and the questions asked after it";
  if (section == "known") return "Recall, the question known when the prompt is compressed";
  if (section == "generated") return "Recall of a fact after text of the model's own";
  return "Running text: nats per byte over the full cache's";
}

// Empty where none was drawn.
std::string links_to(const std::vector<Figure>& figures, const std::string& section) {
  std::string links;
  for (const Figure& figure : figures) {
    if (figure.section != section) continue;
    links += fmt::format("{} [{}]({})", links.empty() ? "Figures:" : ",", figure.group, figure.file);
  }
  return links.empty() ? "" : links + ".\n\n";
}

std::string section_text(const Section& section, const Evaluation& evaluation) {
  const EvalOptions& options = evaluation.options;
  const bool is_text = section.name == kText;
  std::string text = fmt::format("## {}\n\n{}", heading(section.name), links_to(evaluation.figures, section.name));
  text += is_text ? budget_table(section, options, text_text) : budget_table(section, options, recall_text);
  text += is_text ? "\n" + variant_text_table(section) : "\n" + task_table(section);
  if (const std::string differences = difference_table(section, options); !differences.empty()) {
    text +=
        fmt::format("\n### `{}` less the others on the same examples, {}\n\n{}", kCompared, section.name, differences);
  }
  text += fmt::format("\n### Attention lost (%), {}\n\n", section.name);
  return text + budget_table(section, options, lost_text) + "\n";
}

std::string cost_text(const Evaluation& evaluation) {
  Table table({"policy", "budget", "slots", "bytes a slot", "KiB in all", "tokens/s"});
  for (const Cost& cost : evaluation.costs) {
    table.add({cost.policy, percent(cost.budget), std::to_string(cost.slots), std::to_string(cost.slot_bytes),
               fmt::format("{:.0f}", static_cast<double>(cost.kv_bytes) / 1024.0),
               fmt::format("{:.0f}", cost.tokens_per_second)});
  }
  return "## Memory and speed\n\nOne token at a time at the end of a sequence, median. Of the library's policies and "
         "of the full cache: the harness that runs the others is made to be right, not to be fast or small.\n\n" +
         table.text() + "\n";
}

std::string correlation_text(const Evaluation& evaluation) {
  if (evaluation.correlations.empty()) return "";
  std::vector<std::string> head{"score at one step"};
  for (const int32_t lag : kLags) head.push_back(lag == 0 ? "that step" : fmt::format("{} later", lag));
  Table table(head);
  for (const Correlation& correlation : evaluation.correlations) {
    std::vector<std::string> line{correlation.score};
    for (const Estimate& value : correlation.by_lag) {
      line.push_back(value.count > 0 ? fmt::format("{:.2f} ± {:.2f}", value.mean, value.error) : "");
    }
    table.add(line);
  }
  return "## Does one query speak for later ones?\n\nSpearman's correlation of a score with the attention that a later "
         "query pays the same positions, over all positions cached; mean over heads and steps of running text.\n\n" +
         table.text() + "\n";
}

std::string counts_text(const Evaluation& evaluation) {
  std::string text;
  if (!evaluation.options.tasks.empty()) {
    text = fmt::format("{} examples a task and seed", evaluation.options.num_examples);
  }
  if (evaluation.num_texts > 0) {
    text += fmt::format("{}{} pieces of running text a seed, none overlapping another", text.empty() ? "" : ", ",
                        evaluation.num_texts);
  }
  return text;
}

std::string policy_text(const Evaluation& evaluation) {
  std::string text = "## Policies\n\n";
  for (const PolicyChoice& choice : evaluation.options.policies) {
    text += fmt::format("* `{}`: {}\n", choice.name(), choice.row->description);
  }
  return text + "* `-8` to `-128`: with as many bits; `-ends`: 10 % of the budget protected at both ends\n\n";
}

// Of no samples there is no mean.
ordered_json to_json(const Estimate& value) {
  if (value.count == 0) return {{"mean", nullptr}, {"standard_error", nullptr}, {"samples", 0}};
  return {{"mean", value.mean}, {"standard_error", value.error}, {"samples", value.count}};
}

ordered_json to_json(const Cell& cell) {
  ordered_json tasks = ordered_json::object();
  for (const auto& [task, accuracy] : cell.tasks) tasks[task] = to_json(accuracy);
  return {{"policy", cell.choice.name()},
          {"budget", cell.budget},
          {"slots", cell.slots},
          {"score", to_json(cell.score)},
          {"over_full", to_json(cell.over_full)},
          {"over_random", to_json(cell.over_random)},
          {"under_recall", to_json(cell.under_recall)},
          {"attention_lost", to_json(cell.lost)},
          {"tasks", tasks}};
}

}  // namespace

std::string to_json(const Evaluation& evaluation) {
  const EvalOptions& options = evaluation.options;
  ordered_json report;
  report["settings"] = {{"version", evaluation.version},
                        {"cpu_target", evaluation.cpu_target},
                        {"num_threads", evaluation.num_threads},
                        {"model", options.model},
                        {"num_parameters", evaluation.num_parameters},
                        {"text", options.text_source},
                        {"seed_set", name(options.seed_set)},
                        {"seeds", seeds(options.seed_set)},
                        {"length", options.length},
                        {"num_examples_per_task_and_seed", options.num_examples},
                        {"num_texts_per_seed", evaluation.num_texts}};
  for (const Section& section : evaluation.sections) {
    ordered_json cells = ordered_json::array();
    for (const Cell& cell : section.cells) cells.push_back(to_json(cell));
    report["sections"][section.name] = cells;
  }
  report["rank_correlation"] = ordered_json::array();
  for (const Correlation& correlation : evaluation.correlations) {
    ordered_json line{{"score", correlation.score}};
    for (size_t i = 0; i < kLags.size(); ++i) line[fmt::format("lag {}", kLags[i])] = to_json(correlation.by_lag[i]);
    report["rank_correlation"].push_back(line);
  }
  report["costs"] = ordered_json::array();
  for (const Cost& cost : evaluation.costs) {
    report["costs"].push_back({{"policy", cost.policy},
                               {"budget", cost.budget},
                               {"slots", cost.slots},
                               {"slot_bytes", cost.slot_bytes},
                               {"kv_bytes", cost.kv_bytes},
                               {"tokens_per_second", cost.tokens_per_second}});
  }
  return report.dump(1) + "\n";
}

std::string to_markdown(const Evaluation& evaluation) {
  const EvalOptions& options = evaluation.options;
  std::string text = fmt::format(
      "# Quality: tables\n\nWritten by `hashevict eval` {} on the CPU target {}. Model: {} ({} parameters). Text: {}. "
      "Seed set: **{}**, {} seeds, {} tokens a sequence; {}.\n\n",
      evaluation.version, evaluation.cpu_target, options.model, evaluation.num_parameters, options.text_source,
      name(options.seed_set), seeds(options.seed_set).size(), options.length, counts_text(evaluation));
  text +=
      "Recall in %: mean ± standard error, every task counting the same. Running text: nats per byte over the full "
      "cache's, as a share of these. Budgets are bytes, as a share of the full cache's. ▲ and ▽: better and worse than "
      "`random` at the same budget, example by example, by more than two standard errors. ";
  text += fmt::format("In tables of differences: `{}` better and worse than the policy of the row.\n\n", kCompared);
  for (const Section& section : evaluation.sections) text += section_text(section, evaluation);
  return text + correlation_text(evaluation) + cost_text(evaluation) + policy_text(evaluation);
}

}  // namespace hashevict::eval
