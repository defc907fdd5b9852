// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sequence.hpp"

namespace hashevict::eval {

/// What is measured in place of a task's recall: the likelihood of running text.
inline constexpr std::string_view kText = "text";

/// The budget that variants are run at.
inline constexpr double kVariantBudget = 0.3;

/// What an evaluation measures.
struct EvalOptions {
  std::string text;
  std::string text_source = "built-in sample";
  std::string model = "built-in tiny-llama";
  SeedSet seed_set = SeedSet::dev;
  std::vector<PolicyChoice> policies;  ///< at every budget
  std::vector<PolicyChoice> variants;  ///< at kVariantBudget only
  std::vector<double> budgets = {1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1};
  std::vector<Mode> modes = {Mode::streamed, Mode::known, Mode::generated};
  std::vector<Task> tasks{kTasks.begin(), kTasks.end()};
  bool running_text = true;
  int32_t num_examples = 2;  ///< per task, mode and seed; of running text at most, see `num_texts`
  int32_t length = 1024;     ///< tokens of a sequence
  int32_t num_timed = 64;    ///< tokens that a policy's speed is taken over
};

std::string_view name(Mode mode);
/// Whether the mode has the task.
bool is_asked(Mode mode, Task task);
std::string_view name(SeedSet set);

/// One policy at one budget on one sequence.
struct Measurement {
  Mode mode = Mode::streamed;
  std::string what;  ///< a task's name, or kText
  uint64_t seed = 0;
  int32_t index = 0;  ///< of the example, within mode, task and seed
  std::string policy;
  double budget = 1.0;
  Sample sample;
};

/// Results on disk: a line of JSON each, behind one that says what they were made with. So a run that was stopped goes
/// on where it was, and a run with other settings does not mix with it.
class ResultFile {
 public:
  /// Reads what is there already. @throws Error if that was made with other settings, or is no such file
  ResultFile(std::filesystem::path path, std::string settings);

  bool has(const Measurement& measurement) const;
  void add(const std::vector<Measurement>& measurements);
  const std::vector<Measurement>& all() const { return measurements_; }

 private:
  void read(const std::string& content);
  void create() const;

  std::filesystem::path path_;
  std::string settings_;
  std::vector<Measurement> measurements_;
  std::vector<std::string> keys_;  // sorted
};

/// Pieces of running text for each seed: as many as there are examples, or as the text holds without overlap.
int32_t num_texts(const engine::ModelConfig& model, const EvalOptions& options);

/// Seeds what an example is drawn from, and what policies draw on it: another for every mode, task, seed and index, the
/// same for all policies and budgets. @param measurement whose policy, budget and sample play no part
uint64_t example_seed(const Measurement& measurement);

/// What results of two runs must agree in to stand in one file, as JSON text.
std::string result_settings(const Runtime& runtime, const EvalOptions& options);

/// Measures whatever `file` does not hold yet, examples in parallel. @throws Error
/// @param progress called with the share that is done, from any thread, one at a time
void run_experiment(const Runtime& runtime, const EvalOptions& options, ResultFile& file,
                    const std::function<void(double share)>& progress);

}  // namespace hashevict::eval
