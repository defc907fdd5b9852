// SPDX-License-Identifier: Apache-2.0
#include "experiment.hpp"

#include <algorithm>
#include <bit>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>

#include "eval/demo.hpp"
#include "eval/votes.hpp"
#include "running_text.hpp"

namespace hashevict::eval {
namespace {

// One sequence, and the policies and budgets that it has not been measured with yet.
struct Unit {
  Mode mode;
  std::string what;
  Task task;  // unless the unit is running text
  uint64_t seed;
  int32_t index;
  std::vector<Measurement> due;
};

// Whether a row does there what no other row does: without a prompt there is none to reduce or to pin.
bool applies(const PolicyChoice& choice, Mode mode) {
  if (choice.row->prompts_only) return mode == Mode::known;
  const bool pins = choice.row->configure != nullptr && choice.config(Config{}).pin_prompt;
  return !pins || mode != Mode::streamed;
}

void add_due(const Unit& unit, const PolicyChoice& choice, double share, const ResultFile& file,
             std::vector<Measurement>& due) {
  const double budget = choice.is_full() ? 1.0 : share;
  const Measurement measurement{unit.mode, unit.what, unit.seed, unit.index, choice.name(), budget, {}};
  const bool listed = std::any_of(due.begin(), due.end(), [&](const Measurement& m) {
    return m.policy == measurement.policy && m.budget == budget;
  });
  if (!listed && applies(choice, unit.mode) && !file.has(measurement)) due.push_back(measurement);
}

void list_due(const EvalOptions& options, const ResultFile& file, Unit& unit) {
  for (const PolicyChoice& choice : options.policies) {
    for (const double budget : options.budgets) add_due(unit, choice, budget, file, unit.due);
  }
  for (const PolicyChoice& choice : options.variants) add_due(unit, choice, kVariantBudget, file, unit.due);
}

// Example by example, so that a run that is stopped has as much of everything.
std::vector<Unit> list_units(const EvalOptions& options, int32_t num_texts, const ResultFile& file) {
  std::vector<Unit> units;
  const auto add = [&](Unit unit) {
    list_due(options, file, unit);
    if (!unit.due.empty()) units.push_back(std::move(unit));
  };
  for (int32_t index = 0; index < options.num_examples; ++index) {
    for (const uint64_t seed : seeds(options.seed_set)) {
      for (const Mode mode : options.modes) {
        for (const Task task : options.tasks) {
          if (is_asked(mode, task)) add({mode, std::string(name(task)), task, seed, index, {}});
        }
      }
      if (index < num_texts) add({Mode::streamed, std::string(kText), Task::needle, seed, index, {}});
    }
  }
  return units;
}

Sequence make_sequence(const Runtime& runtime, const EvalOptions& options, const Unit& unit) {
  if (unit.what == kText) {
    return RunningText(runtime.model.config(), options.text, options.seed_set, options.length)
        .sequence(unit.seed, unit.index);
  }
  const std::string_view text = half_of(options.text, options.seed_set);
  Random random(example_seed(unit.due.front()));
  const Ingredients ingredients{text, split_words(embedded_words())};
  return make_recall(runtime, unit.mode, unit.task, ingredients, options.length, random);
}

void measure_unit(const Runtime& runtime, const EvalOptions& options, Unit& unit) {
  const Sequence sequence = make_sequence(runtime, options, unit);
  const baselines::FullAttention attention = record_full_attention(runtime, sequence.tokens);
  const Futures futures(attention);
  const Config shape = harness_shape(runtime.model.config());
  const auto num_tokens = static_cast<int64_t>(sequence.tokens.size());
  for (Measurement& measurement : unit.due) {
    const PolicyChoice choice = parse_policy(measurement.policy);
    const int32_t slots = ByteModel::of(choice, shape).slots(measurement.budget, num_tokens, shape);
    PolicyRun run(runtime, choice, slots, num_tokens, example_seed(measurement), &futures);
    measurement.sample = sequence.measure(run, attention);
    measurement.sample.slots = slots;
  }
}

}  // namespace

std::string_view name(Mode mode) {
  switch (mode) {
    case Mode::streamed:
      return "streamed";
    case Mode::known:
      return "known";
    case Mode::generated:
      return "generated";
  }
  throw Error(Status::internal, "unknown mode");
}

bool is_asked(Mode mode, Task task) {
  // One fact in the prompt is what the long way is about.
  return mode != Mode::generated || task == Task::needle;
}

std::string_view name(SeedSet set) {
  return set == SeedSet::dev ? "dev" : "test";
}

int32_t num_texts(const engine::ModelConfig& model, const EvalOptions& options) {
  if (!options.running_text) return 0;
  return std::min(options.num_examples,
                  RunningText(model, options.text, options.seed_set, options.length).num_examples());
}

uint64_t example_seed(const Measurement& measurement) {
  uint64_t what = kTasks.size();  // running text
  for (size_t i = 0; i < kTasks.size(); ++i) {
    if (name(kTasks[i]) == measurement.what) what = i;
  }
  // Fields that do not overlap, for up to a million examples.
  constexpr uint64_t kExamples = 1U << 20U, kModes = 4, kWhats = 16;
  const uint64_t example = measurement.seed * kExamples + static_cast<uint64_t>(measurement.index);
  return (example * kModes + static_cast<uint64_t>(measurement.mode)) * kWhats + what;
}

std::string result_settings(const Runtime& runtime, const EvalOptions& options) {
  // A sum stands for the contents: enough to tell another model, other votes or another text apart.
  uint64_t sum = 1469598103934665603ULL;
  const auto mix = [&sum](unsigned char byte) { sum = (sum ^ byte) * 1099511628211ULL; };
  for (const char c : options.text) mix(static_cast<unsigned char>(c));
  for (const char c : embedded_words()) mix(static_cast<unsigned char>(c));
  const auto mix_number = [&mix](float number) {
    for (int shift = 0; shift < 32; shift += 8) {
      mix(static_cast<unsigned char>(std::bit_cast<uint32_t>(number) >> shift));
    }
  };
  for (const float weight : runtime.model.final_norm()) mix_number(weight);
  if (runtime.votes != nullptr) runtime.votes->for_each(mix_number);
  const nlohmann::json settings = {
      {"format", 3},  // of results.jsonl, and of how examples are drawn
      {"model", options.model},
      {"num_parameters", runtime.model.num_parameters()},
      {"text", options.text_source},
      {"contents", sum},
      {"seeds", name(options.seed_set)},
      {"length", options.length},
  };
  return settings.dump();
}

void run_experiment(const Runtime& runtime, const EvalOptions& options, ResultFile& file,
                    const std::function<void(double share)>& progress) {
  std::vector<Unit> units = list_units(options, num_texts(runtime.model.config(), options), file);
  std::mutex mutex;  // guards what follows
  std::exception_ptr failure;
  size_t num_done = 0;
  runtime.threads.parallel_for(static_cast<int64_t>(units.size()), [&](int64_t index) {
    Unit& unit = units[static_cast<size_t>(index)];
    try {
      if (std::unique_lock lock(mutex); failure) return;
      measure_unit(runtime, options, unit);
      std::unique_lock lock(mutex);
      file.add(unit.due);
      progress(static_cast<double>(++num_done) / static_cast<double>(units.size()));
    } catch (...) {
      std::unique_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace hashevict::eval
