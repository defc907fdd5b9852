// SPDX-License-Identifier: Apache-2.0
#include "experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <hashevict/cache.hpp>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "cli/demo/demo.hpp"
#include "cli/demo/text.hpp"
#include "cli/votes.hpp"
#include "engine/tokenizer.hpp"
#include "eval/baselines/scored_cache.hpp"

namespace hashevict::lab {
namespace {

// Returns the config that all caches of the harness share: one sequence, bfloat16.
Config harness_shape(const engine::ModelConfig& model) {
  Config config = engine::KvCache::make_config(model, 0);
  config.shape.dtype = DType::bfloat16;
  return config;
}

// Makes an empty cache of one policy, of the library or of the harness.
// @param capacity mean slots of a layer; learned votes may divide them otherwise. @throws Error if it is too small
std::unique_ptr<engine::AttentionCache> make_cache(const cli::Runtime& runtime, const PolicyRow& row, int32_t capacity,
                                                   int64_t max_tokens, uint64_t seed) {
  const engine::ModelConfig& model = runtime.model.config();
  if (row.make_scorer != nullptr) {
    const baselines::ScoredConfig config{.num_layers = model.num_layers,
                                         .shape = {model.num_qo_heads, model.num_kv_heads, model.head_dim},
                                         .capacity = capacity,
                                         .max_tokens = static_cast<int32_t>(max_tokens),
                                         .num_sink_tokens = row.num_sink_tokens,
                                         .recent_window = row.recent_window(capacity)};
    return std::make_unique<baselines::ScoredCache>(config, [&] { return row.make_scorer(capacity); });
  }
  Config config = row.config(harness_shape(model));
  config.shape.capacity = capacity;
  if (!row.even) cli::divide_slots(runtime, config, max_tokens);
  config.rule.seed = seed;
  config.execution.max_batch_tokens = max_tokens;
  return std::make_unique<engine::KvCache>(cli::make_cache(runtime, config));
}

// One sequence, and the policies and budgets that are still to be measured on it.
struct Unit {
  Mode mode;
  std::string what;
  cli::Task task;  // unless the unit is running text
  uint64_t seed;
  int32_t index;
  std::vector<Measurement> due;
};

void list_due(const EvalOptions& options, const ResultFile& file, Unit& unit) {
  for (const PolicyRow* row : options.policies) {
    for (const double budget : row->is_full() ? std::vector<double>{1.0} : options.budgets) {
      const Measurement measurement{unit.mode, unit.what, unit.seed, unit.index, std::string(row->name), budget};
      if (!file.has(to_json(measurement))) unit.due.push_back(measurement);
    }
  }
}

// Orders work by example, so that an interrupted run has the same number of all policies.
std::vector<Unit> list_units(const EvalOptions& options, int32_t num_texts, const ResultFile& file) {
  std::vector<Unit> units;
  const auto add = [&](Unit unit) {
    list_due(options, file, unit);
    if (!unit.due.empty()) units.push_back(std::move(unit));
  };
  for (int32_t index = 0; index < options.num_examples; ++index) {
    for (const uint64_t seed : seeds(options.seed_set)) {
      for (const Mode mode : options.modes) {
        for (const cli::Task task : options.tasks) {
          add({mode, std::string(name(task)), task, seed, index, {}});
        }
      }
      if (index < num_texts) add({Mode::streamed, std::string(kText), cli::Task::needle, seed, index, {}});
    }
  }
  return units;
}

Sequence make_sequence(const cli::Runtime& runtime, const EvalOptions& options, const Unit& unit) {
  if (unit.what == kText) {
    return RunningText(runtime.model.config(), options.text, options.seed_set, options.length)
        .sequence(unit.seed, unit.index);
  }
  const std::string_view text = half_of(options.text, options.seed_set);
  cli::Random random(example_seed(unit.due.front()));
  const cli::Ingredients ingredients{text, cli::split_words(cli::embedded_words())};
  return make_recall(runtime.model.config(), unit.mode, unit.task, ingredients, options.length, random);
}

void measure_unit(const cli::Runtime& runtime, const EvalOptions& options, Unit& unit) {
  const Sequence sequence = make_sequence(runtime, options, unit);
  const Config shape = harness_shape(runtime.model.config());
  const auto num_tokens = static_cast<int64_t>(sequence.tokens.size());
  for (Measurement& measurement : unit.due) {
    const PolicyRow& row = policy_row(measurement.policy);
    measurement.slots = slots_for(row, measurement.budget, num_tokens, shape);
    const auto cache = make_cache(runtime, row, measurement.slots, num_tokens, example_seed(measurement));
    engine::Decoder decoder(runtime.model, *cache, runtime.threads);
    measurement.score = sequence.measure(decoder);
  }
}

std::vector<nlohmann::json> lines_of(const Unit& unit) {
  std::vector<nlohmann::json> lines;
  for (const Measurement& measurement : unit.due) lines.push_back(to_json(measurement));
  return lines;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Status::invalid_argument, message);
}

// Overlapping pieces of running text would count as more evidence than they are.
void validate_texts(const engine::ModelConfig& model, const EvalOptions& options) {
  if (!options.running_text) return;
  const RunningText texts(model, options.text, options.seed_set, options.length);
  const size_t num_seeds = seeds(options.seed_set).size();
  const auto pieces = [&] {
    return fmt::format("half of the text holds {} pieces of {} tokens that do not overlap, {} for each of {} seeds",
                       texts.size(), options.length, texts.num_examples(), num_seeds);
  };
  if (texts.num_examples() == 0) refuse(fmt::format("text: {}; running text needs one", pieces()));
  // A text long enough for recall tasks may give fewer pieces of running text than examples.
  if (options.tasks.empty() && options.num_examples > texts.num_examples()) {
    refuse(fmt::format("examples: {} texts a seed, but {}", options.num_examples, pieces()));
  }
}

nlohmann::json description(std::string_view mode, std::string_view what, std::string_view policy) {
  return {{"mode", mode}, {"what", what}, {"seed", 0}, {"index", 0}, {"policy", policy}, {"budget", 1.0}};
}

// The description of the measurement in tables.
void describe(const EvalOptions& options, ResultFile& file) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  std::vector<nlohmann::json> lines = {
      description("machine", cli::library_version(), static_cast<const char*>(capabilities.cpu_target))};
  for (const PolicyRow* row : options.policies) {
    lines.push_back(description("policy", name(row->group), row->name));
    lines.back()["description"] = row->description;
  }
  for (const nlohmann::json& line : lines) {
    if (!file.has(line)) file.add({line});
  }
}

}  // namespace

std::string_view name(Mode mode) {
  return mode == Mode::streamed ? "streamed" : "known";
}

nlohmann::json to_json(const Measurement& m) {
  return {{"mode", name(m.mode)}, {"what", m.what},     {"seed", m.seed},   {"index", m.index},
          {"policy", m.policy},   {"budget", m.budget}, {"slots", m.slots}, {"score", m.score}};
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
  uint64_t what = cli::kTasks.size();  // running text
  for (size_t i = 0; i < cli::kTasks.size(); ++i) {
    if (name(cli::kTasks[i]) == measurement.what) what = i;
  }
  // The fields do not overlap for up to a million examples.
  constexpr uint64_t kExamples = 1U << 20U, kModes = 4, kWhats = 16;
  const uint64_t example = measurement.seed * kExamples + static_cast<uint64_t>(measurement.index);
  return (example * kModes + static_cast<uint64_t>(measurement.mode)) * kWhats + what;
}

std::string result_settings(const cli::Runtime& runtime, const EvalOptions& options) {
  // A checksum stands for the contents: it distinguishes models, votes and texts.
  uint64_t sum = 1469598103934665603ULL;
  const auto mix = [&sum](unsigned char byte) { sum = (sum ^ byte) * 1099511628211ULL; };
  for (const char c : options.text) mix(static_cast<unsigned char>(c));
  for (const char c : cli::embedded_words()) mix(static_cast<unsigned char>(c));
  const auto mix_number = [&mix](float number) {
    for (int shift = 0; shift < 32; shift += 8) {
      mix(static_cast<unsigned char>(std::bit_cast<uint32_t>(number) >> shift));
    }
  };
  for (const float weight : runtime.model.final_norm()) mix_number(weight);
  if (runtime.votes != nullptr) runtime.votes->for_each(mix_number);
  const nlohmann::json settings = {
      {"format", 5},  // of results.jsonl, and of how examples are drawn
      {"model", options.model},
      {"num_parameters", runtime.model.num_parameters()},
      {"text", options.text_source},
      {"contents", sum},
      {"seeds", name(options.seed_set)},
      {"length", options.length},
  };
  return settings.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void validate(const cli::Runtime& runtime, const EvalOptions& options) {
  const engine::ModelConfig& model = runtime.model.config();
  engine::ByteTokenizer::require_fits(model);
  if (options.length > model.max_position_embeddings) {
    refuse(
        fmt::format("length: {} is more than the model's {} positions", options.length, model.max_position_embeddings));
  }
  for (const cli::Task task : options.tasks) {
    if (static_cast<size_t>(options.length) <= cli::minimum_length(task)) {
      refuse(fmt::format("length: {} is too short for the task {}, which needs more than {}", options.length,
                         name(task), cli::minimum_length(task)));
    }
  }
  if (options.text.size() / 2 <= static_cast<size_t>(options.length)) {
    refuse(fmt::format("text: half of its {} bytes is not more than a sequence of {}", options.text.size(),
                       options.length));
  }
  validate_texts(model, options);
  const Config shape = harness_shape(model);
  const double budget = *std::min_element(options.budgets.begin(), options.budgets.end());
  for (const PolicyRow* row : options.policies) {
    if (row->is_full()) continue;
    const int32_t slots = slots_for(*row, budget, options.length, shape);
    try {
      make_cache(runtime, *row, slots, options.length, 0);
    } catch (const Error& error) {
      refuse(fmt::format("{} at a budget of {} % of {} tokens: {}", row->name, cli::percent(budget), options.length,
                         error.what()));
    }
  }
}

void evaluate(const cli::Runtime& runtime, const EvalOptions& options, const std::filesystem::path& folder,
              const std::function<void(double share)>& progress) {
  ResultFile file(folder / kResultFile, result_settings(runtime, options));
  describe(options, file);
  std::vector<Unit> units = list_units(options, num_texts(runtime.model.config(), options), file);
  std::mutex mutex;  // guards the variables below
  std::exception_ptr failure;
  size_t num_done = 0;
  runtime.threads.parallel_for(static_cast<int64_t>(units.size()), [&](int64_t index) {
    Unit& unit = units[static_cast<size_t>(index)];
    try {
      if (std::unique_lock lock(mutex); failure) return;
      measure_unit(runtime, options, unit);
      std::unique_lock lock(mutex);
      file.add(lines_of(unit));
      progress(static_cast<double>(++num_done) / static_cast<double>(units.size()));
    } catch (...) {
      std::unique_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace hashevict::lab
