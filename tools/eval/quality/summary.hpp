// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "correlation.hpp"
#include "eval/chart.hpp"
#include "eval/report.hpp"
#include "experiment.hpp"

namespace hashevict::eval {

/// The policy that all others are compared with in a table of their own.
inline constexpr std::string_view kCompared = "recall";

/// What one policy came to at one budget.
struct Cell {
  PolicyChoice choice;
  double budget = 1.0;
  int32_t slots = 0;  ///< per head, on the sequences measured
  Estimate score;     ///< recall, every task counting the same; or nats per byte
  Estimate lost;      ///< attention, likewise
  /// Score less that of the full cache, and less that of random eviction at the same budget, example by example; no
  /// samples if that was not run.
  Estimate over_full, over_random;
  Estimate under_recall;  ///< score of kCompared at the same budget less this one's, likewise
  std::vector<std::pair<std::string, Estimate>> tasks;
};

/// Recall in one mode, or running text.
struct Section {
  std::string name;         ///< a mode's name, or kText
  std::vector<Cell> cells;  ///< in the order of policies, then by falling budget

  const Cell* find(const std::string& policy, double budget) const;
};

/// What a policy of the library costs.
struct Cost {
  std::string policy;
  double budget = 1.0;
  int32_t slots = 0;
  int64_t slot_bytes = 0;
  uint64_t kv_bytes = 0;           ///< all layers and heads
  double tokens_per_second = 0.0;  ///< one token at a time, at the end of a sequence
};

/// A chart and the name of its file.
struct Figure {
  std::string section;  ///< that it shows
  std::string group;    ///< of policies, likewise
  std::string file;
  Chart chart;
};

/// Everything an evaluation found out.
struct Evaluation {
  EvalOptions options;
  int64_t num_parameters = 0;
  std::string version;
  std::string cpu_target;
  int32_t num_threads = 1;
  int32_t num_texts = 0;  ///< pieces of running text for each seed
  std::vector<Section> sections;
  std::vector<Correlation> correlations;
  std::vector<Cost> costs;
  std::vector<Figure> figures;  ///< of sections that hold the full cache, which lines begin at, and another policy
};

/// Puts measurements together; those of policies, budgets, tasks and examples that the options do not name are left
/// out.
std::vector<Section> summarize(const EvalOptions& options, const std::vector<Measurement>& measurements);

/// Slots, bytes and speed of the library's policies, measured one after the other.
std::vector<Cost> measure_costs(const Runtime& runtime, const EvalOptions& options);

/// report.json
std::string to_json(const Evaluation& evaluation);
/// tables.md
std::string to_markdown(const Evaluation& evaluation);

}  // namespace hashevict::eval
