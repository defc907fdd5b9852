// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "policy_table.hpp"
#include "result_file.hpp"
#include "sequence.hpp"

namespace hashevict::lab {

/// Names the likelihood of running text in place of a task.
inline constexpr std::string_view kText = "text";

/// The policies, budgets and examples of an evaluation.
struct EvalOptions {
  std::string text;
  std::string text_source = "built-in sample";
  std::string model = "built-in tiny-llama";
  SeedSet seed_set = SeedSet::dev;
  std::vector<const PolicyRow*> policies;
  std::vector<double> budgets = {1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1};
  std::vector<Mode> modes = {Mode::streamed, Mode::known};
  std::vector<cli::Task> tasks{cli::kTasks.begin(), cli::kTasks.end()};
  bool running_text = true;
  int32_t num_examples = 2;  ///< per task, mode and seed; of running text at most, see `num_texts`
  int32_t length = 1024;     ///< tokens of a sequence
};

std::string_view name(Mode mode);
std::string_view name(SeedSet set);

/// One policy at one budget on one sequence.
struct Measurement {
  Mode mode = Mode::streamed;
  std::string what;  ///< a task's name, or kText
  uint64_t seed = 0;
  int32_t index = 0;  ///< of the example within its mode, task and seed
  std::string policy;
  double budget = 1.0;
  double score = 0.0;  ///< share of the questions answered; for running text, nats per byte
  int32_t slots = 0;
};

/// Returns a measurement's line in results.jsonl.
nlohmann::json to_json(const Measurement& measurement);

/// Returns the number of pieces of running text for each seed: the number of examples, or fewer if the text is short.
int32_t num_texts(const engine::ModelConfig& model, const EvalOptions& options);

/// Returns the seed of an example and of the policies' draws on it: one for every mode, task, seed and index, the same
/// for all policies and budgets. Ignores the measurement's policy, budget and result.
uint64_t example_seed(const Measurement& measurement);

/// Returns the settings, as JSON text, that all results of one file share.
std::string result_settings(const cli::Runtime& runtime, const EvalOptions& options);

/// The file that evaluate() writes into its folder.
inline constexpr const char* kResultFile = "results.jsonl";

/// Refuses settings that evaluate() would fail on later. Call it first, before anything is written.
/// @throws Error naming the setting
void validate(const cli::Runtime& runtime, const EvalOptions& options);

/// Makes the measurements that the folder's results.jsonl lacks, examples in parallel, and appends each as it ends.
/// @param folder exists
/// @param progress called with the share that is done, from any thread, one at a time
/// @throws Error if the file holds results of other settings
void evaluate(const cli::Runtime& runtime, const EvalOptions& options, const std::filesystem::path& folder,
              const std::function<void(double share)>& progress);

}  // namespace hashevict::lab
