// SPDX-License-Identifier: Apache-2.0
#include "demo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <hashevict/cache.hpp>

#include "cli/budget.hpp"
#include "cli/memory.hpp"
#include "cli/profile.hpp"
#include "engine/tokenizer.hpp"
#include "policies.hpp"
#include "retention.hpp"
#include "text.hpp"

namespace hashevict::cli {
namespace {

// One row of the table.
struct Setup {
  std::string_view policy;
  double budget;
  bool calibrated = false;
};

// All rows, by policy, division and falling budget.
std::vector<Setup> all_setups() {
  std::vector<Setup> setups = {{kFull, 1.0}};
  for (const std::string_view policy : kPolicies) {
    for (const bool calibrated : {false, true}) {
      for (const double budget : kBudgets) setups.push_back({policy, budget, calibrated});
    }
  }
  return setups;
}

Runtime with_equal_slots(Runtime runtime) {
  runtime.divides = false;
  return runtime;
}

struct LabelledExample {
  Task task;
  Example example;
};

// The texts and examples, the same for all policies.
struct Material {
  std::vector<std::string_view> texts;
  std::vector<LabelledExample> examples;
  Example retained;       // whose retention is recorded
  std::string continued;  // the prompt to continue
};

Material make_material(const DemoOptions& options) {
  require_valid(options);
  const auto length = static_cast<size_t>(options.length);
  Material material;
  // The mark that begins a sequence is a token, too.
  material.texts = cut_evenly(options.text, length - 1, static_cast<size_t>(options.num_texts));
  const Ingredients ingredients{options.text, split_words(embedded_words())};
  Random random(options.seed);
  for (const Task task : kTasks) {
    for (int32_t i = 0; i < options.num_examples; ++i) {
      material.examples.push_back({task, make_example(random, task, ingredients, length)});
    }
  }
  material.retained = retention_example(options);
  material.continued = prompt_within(options.text, static_cast<size_t>(options.length - options.num_continued));
  return material;
}

class Demo {
 public:
  Demo(const Runtime& runtime, const DemoOptions& options, const Progress& progress)
      : calibrated_(runtime),
        equal_(with_equal_slots(runtime)),
        options_(options),
        progress_(progress),
        material_(make_material(options)) {
    engine::ByteTokenizer::require_fits(runtime.model.config());
    const size_t per_setup = material_.texts.size() + material_.examples.size() + 1;
    num_units_ = static_cast<double>(all_setups().size() * per_setup + 3 * kPolicies.size() + 1);
  }

  Report run() {
    const auto start = std::chrono::steady_clock::now();
    Report report;
    for (const Setup& setup : all_setups()) report.results.push_back(measure(setup));
    report.divided = divided();
    report.retention = study_retention();
    report.continuation = study_continuation();
    report.settings = settings();
    report.settings.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

 private:
  const engine::ModelConfig& model() const { return equal_.model.config(); }

  const Runtime& runtime(const Setup& setup) const { return setup.calibrated ? calibrated_ : equal_; }

  DividedSlots divided() const {
    const Setup setup{"window", kBudgets.back(), true};
    return {setup.budget, options_.length, model().num_kv_heads, config(setup, 0).shape.capacities};
  }

  void advance(std::string_view what) {
    done_ += 1.0;
    if (progress_) progress_(what, std::min(1.0, done_ / num_units_));
  }

  Config config(const Setup& setup, uint64_t seed) const {
    Config config = policy_config(setup.policy, model(), slots(setup), seed);
    if (calibrated_.profile != nullptr) calibrated_.profile->configure(config);
    divide_slots(runtime(setup), config, options_.length);
    return config;
  }

  int32_t slots(const Setup& setup) const { return Budget::of_fraction(setup.budget).slots_for(options_.length); }

  PolicyResult measure(const Setup& setup) {
    PolicyResult result;
    result.policy = setup.policy;
    result.budget = setup.budget;
    result.calibrated = setup.calibrated;
    result.slots = slots(setup);
    result.kv_bytes = kv_bytes(setup.policy, config(setup, 0));
    measure_text(setup, result);
    measure_recall(setup, result);
    const std::string what = fmt::format("{} at {} %, speed", setup.policy, percent(setup.budget));
    result.tokens_per_second = tokens_per_second(runtime(setup), config(setup, 0), material_.texts.front(),
                                                 static_cast<size_t>(options_.num_timed));
    advance(what);
    return result;
  }

  void measure_text(const Setup& setup, PolicyResult& result) {
    const std::string what = fmt::format("{} at {} %, running text", setup.policy, percent(setup.budget));
    std::vector<double> nats;
    std::vector<double> excess;
    for (size_t i = 0; i < material_.texts.size(); ++i) {
      // Every sequence draws its own projection, so that the error includes the draw.
      nats.push_back(cli::nats_per_byte(runtime(setup), config(setup, options_.seed + i), material_.texts[i]));
      advance(what);
    }
    if (setup.policy == kFull) full_nats_ = nats;
    for (size_t i = 0; i < nats.size(); ++i) excess.push_back(nats[i] - full_nats_[i]);
    result.nats_per_byte = estimate(nats);
    result.nats_over_full = estimate(excess);
  }

  void measure_recall(const Setup& setup, PolicyResult& result) {
    const std::string what = fmt::format("{} at {} %, recall", setup.policy, percent(setup.budget));
    for (size_t i = 0; i < material_.examples.size(); ++i) {
      result.recall_samples.push_back(
          cli::recall(runtime(setup), config(setup, options_.seed + i), material_.examples[i].example));
      advance(what);
    }
    result.recall = estimate(result.recall_samples);
    const auto per_task = static_cast<size_t>(options_.num_examples);
    for (size_t t = 0; t < kTasks.size(); ++t) {
      result.tasks.push_back({kTasks[t], estimate(std::span(result.recall_samples).subspan(t * per_task, per_task))});
    }
  }

  RetentionStudy study_retention() {
    RetentionStudy study;
    study.example = material_.retained;
    study.num_layers = model().num_layers;
    study.num_kv_heads = model().num_kv_heads;
    study.num_tokens = static_cast<int32_t>(sequence_tokens(model(), study.example.prompt).size());
    for (const std::string_view policy : kPolicies) {
      for (const Runtime& runtime : {equal_, calibrated_}) {
        study.policies.push_back(follow(runtime, policy, kBudgets.back(), study.example, options_.seed));
        advance("positions that each head keeps");
      }
    }
    return study;
  }

  ContinuationStudy study_continuation() {
    ContinuationStudy study;
    study.prompt = material_.continued;
    study.policies.push_back(continue_prompt(kFull, 1.0, study.prompt));
    for (const std::string_view policy : kPolicies) {
      study.policies.push_back(continue_prompt(policy, kBudgets.back(), study.prompt));
    }
    for (Continuation& item : study.policies) item.same_as_full = num_shared(study.policies.front().text, item.text);
    return study;
  }

  Continuation continue_prompt(std::string_view policy, double budget, const std::string& prompt) {
    const Setup setup{policy, budget};
    Continuation continuation{std::string(policy), budget, slots(setup), kv_bytes(policy, config(setup, 0)), {}, 0};
    continuation.text = cli::continue_prompt(equal_, config(setup, options_.seed), prompt, options_.num_continued);
    advance("continuing a prompt");
    return continuation;
  }

  Settings settings() const {
    Settings settings;
    settings.version = library_version();
    settings.cpu_target = static_cast<const char*>(Cache::capabilities(Backend::cpu).cpu_target);
    settings.model = options_.model;
    settings.text_source = options_.text_source;
    settings.storage_dtype = "bfloat16";
    settings.num_parameters = equal_.model.num_parameters();
    settings.num_threads = equal_.threads.num_threads();
    settings.length = options_.length;
    settings.num_texts = static_cast<int32_t>(material_.texts.size());
    settings.num_examples = options_.num_examples;
    settings.seed = options_.seed;
    settings.quick = options_.quick;
    return settings;
  }

  Runtime calibrated_;
  Runtime equal_;  // the profile does not divide
  const DemoOptions& options_;
  const Progress& progress_;
  Material material_;
  std::vector<double> full_nats_;
  double num_units_ = 0.0;
  double done_ = 0.0;
};

}  // namespace

void require_valid(const DemoOptions& options) {
  if (options.text.size() > static_cast<size_t>(options.length)) return;
  throw Error(Status::invalid_argument, "the text has " + std::to_string(options.text.size()) +
                                            " bytes; the demo needs more than " + std::to_string(options.length));
}

uint64_t demo_bytes(const engine::Model& model, const DemoOptions& options) {
  const Config full = policy_config(kFull, model.config(), options.length, options.seed);
  return decoder_bytes(model.config(), model.num_parameters(), engine::kBatchTokens) +
         Cache::required_bytes(full).total + options.text.size();
}

Example retention_example(const DemoOptions& options) {
  constexpr uint64_t kSeeds = 1000;  // one draw in ten is early
  Ingredients ingredients{options.text, split_words(embedded_words())};
  const auto length = static_cast<size_t>(options.length);
  for (const bool between_words : {true, false}) {
    ingredients.between_words = between_words;
    for (uint64_t i = 0; i < kSeeds; ++i) {
      Random random(options.seed + i);
      Example example = make_example(random, Task::needle, ingredients, length);
      if (example.fact.begin >= length / 8 && example.fact.end <= length / 3) return example;
    }
  }
  throw Error(Status::invalid_argument,
              "no needle lies early in a sequence of " + std::to_string(length) + " bytes; expected a longer one");
}

DemoOptions DemoOptions::make_quick() {
  DemoOptions options;
  options.length = 256;
  options.num_texts = 2;
  options.num_examples = 2;
  options.num_timed = 16;
  options.num_continued = 48;
  options.quick = true;
  return options;
}

Report run_demo(const Runtime& runtime, const DemoOptions& options, const Progress& progress) {
  return Demo(runtime, options, progress).run();
}

}  // namespace hashevict::cli
