// SPDX-License-Identifier: Apache-2.0
#include "evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "figures.hpp"
#include "running_text.hpp"

namespace hashevict::eval {
namespace {

constexpr int32_t kMinimumLength = 192;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Status::invalid_argument, message);
}

// Pieces of running text that overlap would be taken for more evidence than they are.
void validate_texts(const engine::ModelConfig& model, const EvalOptions& options) {
  if (!options.running_text) return;
  const RunningText texts(model, options.text, options.seed_set, options.length);
  const size_t num_seeds = seeds(options.seed_set).size();
  const auto pieces = [&] {
    return fmt::format("half of the text holds {} pieces of {} tokens that do not overlap, {} for each of {} seeds",
                       texts.size(), options.length, texts.num_examples(), num_seeds);
  };
  if (texts.num_examples() == 0) refuse(fmt::format("text: {}; running text needs one", pieces()));
  // Beside recall tasks, which the text is long enough for, fewer texts than examples are measured.
  if (options.tasks.empty() && options.num_examples > texts.num_examples()) {
    refuse(fmt::format("examples: {} texts a seed, but {}", options.num_examples, pieces()));
  }
}

// Tasks that no mode has would be left out without a word.
void validate_modes(const EvalOptions& options) {
  const auto& tasks = options.tasks;
  const bool any = std::any_of(options.modes.begin(), options.modes.end(), [&](Mode mode) {
    return std::any_of(tasks.begin(), tasks.end(), [&](Task task) { return is_asked(mode, task); });
  });
  if (any || tasks.empty()) return;
  std::string names;
  for (const Task task : tasks) names.append(names.empty() ? "" : ",").append(name(task));
  refuse(fmt::format("modes, tasks: {} has the task {} alone, so of {} nothing would be measured",
                     name(Mode::generated), name(Task::needle), names));
}

void describe(const Runtime& runtime, Evaluation& evaluation) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  evaluation.version =
      fmt::format("{}.{}.{}", capabilities.version_major, capabilities.version_minor, capabilities.version_patch);
  evaluation.cpu_target = static_cast<const char*>(capabilities.cpu_target);
  evaluation.num_parameters = runtime.model.num_parameters();
  evaluation.num_texts = num_texts(runtime.model.config(), evaluation.options);
  evaluation.num_threads = runtime.threads.num_threads();
}

}  // namespace

void validate(const Runtime& runtime, const EvalOptions& options) {
  const engine::ModelConfig& model = runtime.model.config();
  if (options.length > model.max_position_embeddings) {
    refuse(
        fmt::format("length: {} is more than the model's {} positions", options.length, model.max_position_embeddings));
  }
  for (const Task task : options.tasks) {
    if (static_cast<size_t>(options.length) <= minimum_length(task)) {
      refuse(fmt::format("length: {} is too short for the task {}, which needs more than {}", options.length,
                         name(task), minimum_length(task)));
    }
  }
  if (options.length < kMinimumLength) {
    refuse(fmt::format("length: {} is less than {}, which timing and the picture of retention need", options.length,
                       kMinimumLength));
  }
  if (options.text.size() / 2 <= static_cast<size_t>(options.length)) {
    refuse(fmt::format("text: half of its {} bytes is not more than a sequence of {}", options.text.size(),
                       options.length));
  }
  validate_modes(options);
  validate_texts(model, options);
  const Config shape = harness_shape(model);
  const auto try_out = [&](const PolicyChoice& choice, double budget) {
    if (choice.is_full()) return;
    const int32_t slots = ByteModel::of(choice, shape).slots(budget, options.length, shape);
    if (choice.row->group == PolicyGroup::reference) return;  // an oracle wants a future, and takes any capacity
    try {
      PolicyRun(runtime, choice, slots, options.length, 0, nullptr);
    } catch (const Error& error) {
      refuse(fmt::format("{} at a budget of {:g} % of {} tokens: {}", choice.name(), 100.0 * budget, options.length,
                         error.what()));
    }
  };
  const double smallest = *std::min_element(options.budgets.begin(), options.budgets.end());
  for (const PolicyChoice& choice : options.policies) try_out(choice, smallest);
  for (const PolicyChoice& choice : options.variants) try_out(choice, kVariantBudget);
}

Evaluation evaluate(const Runtime& runtime, const EvalOptions& options, const std::filesystem::path& folder,
                    const std::function<void(std::string_view file, std::string_view content)>& write,
                    const std::function<void(std::string_view what, double share)>& progress) {
  ResultFile results(folder / "results.jsonl", result_settings(runtime, options));
  run_experiment(runtime, options, results, [&](double share) { progress("recall and text", 0.9 * share); });
  Evaluation evaluation;
  evaluation.options = options;
  describe(runtime, evaluation);
  evaluation.sections = summarize(options, results.all());
  progress("rank correlation", 0.92);
  evaluation.correlations = correlate(runtime, options);
  progress("memory and speed", 0.95);
  evaluation.costs = measure_costs(runtime, options);
  progress("what each head keeps", 0.98);
  const RetentionStudy study = study_retention(runtime, options);
  evaluation.figures = make_figures(evaluation);
  write("report.json", to_json(evaluation));
  write("tables.md", to_markdown(evaluation));
  for (const Figure& figure : evaluation.figures) write(figure.file, to_svg_file(figure.chart));
  write("retention.html", to_page(evaluation, study));
  return evaluation;
}

}  // namespace hashevict::eval
