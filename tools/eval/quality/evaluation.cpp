// SPDX-License-Identifier: Apache-2.0
#include "evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "figures.hpp"

namespace hashevict::eval {
namespace {

constexpr int32_t kMinimumLength = 192;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Status::invalid_argument, message);
}

// What would fail only after a long time fails at once.
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
  const Config shape = harness_shape(model);
  const double smallest = *std::min_element(options.budgets.begin(), options.budgets.end());
  const auto try_out = [&](const PolicyChoice& choice, double budget) {
    const int32_t slots = ByteModel::of(choice, shape).slots(budget, options.length, shape);
    try {
      PolicyRun(runtime, choice, slots, options.length, 0, nullptr);
    } catch (const Error& error) {
      refuse(fmt::format("{} at a budget of {:.0f} % of {} tokens: {}", choice.name(), 100.0 * budget, options.length,
                         error.what()));
    }
  };
  for (const PolicyChoice& choice : options.policies) {
    if (choice.row->group != PolicyGroup::reference) try_out(choice, smallest);
  }
  for (const PolicyChoice& choice : options.variants) {
    if (choice.row->group != PolicyGroup::reference) try_out(choice, kVariantBudget);
  }
}

void describe(const Runtime& runtime, Evaluation& evaluation) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  evaluation.version =
      fmt::format("{}.{}.{}", capabilities.version_major, capabilities.version_minor, capabilities.version_patch);
  evaluation.cpu_target = static_cast<const char*>(capabilities.cpu_target);
  evaluation.num_parameters = runtime.model.num_parameters();
  evaluation.num_threads = runtime.threads.num_threads();
}

}  // namespace

Evaluation evaluate(const Runtime& runtime, const EvalOptions& options, const std::filesystem::path& folder,
                    const std::function<void(std::string_view file, std::string_view content)>& write,
                    const std::function<void(std::string_view what, double share)>& progress) {
  validate(runtime, options);
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
  const std::vector<Figure> figures = make_figures(evaluation);
  write("report.json", to_json(evaluation));
  write("tables.md", to_markdown(evaluation));
  for (const Figure& figure : figures) write(figure.file, to_svg_file(figure.chart));
  write("retention.html", to_page(evaluation, figures, study));
  return evaluation;
}

}  // namespace hashevict::eval
