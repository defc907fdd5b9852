// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <hashevict/cache.hpp>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "commands.hpp"
#include "engine/decoder.hpp"
#include "engine/embedded_model.hpp"
#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"
#include "eval/budget.hpp"
#include "eval/continuation.hpp"
#include "eval/numbers.hpp"
#include "eval/retention.hpp"
#include "eval/votes.hpp"
#include "files.hpp"
#include "rule_options.hpp"
#include "seed_option.hpp"

namespace hashevict::cli {
namespace {

constexpr size_t kColumnWidth = 58;

struct Options {
  std::string model, prompt, prompt_file, tokens, prefill, save_trace, votes;
  std::string budget = "0.3";
  int32_t prefill_window = 32;
  engine::GenerateOptions generate;
  RuleOptions rule;
};

int32_t parse_token(const std::string& text) {
  const std::optional<int32_t> token = eval::parse_whole<int32_t>(text);
  if (token) return *token;
  throw Error(Status::invalid_argument,
              "--tokens: '" + text + "' is not a token id; expected ids separated by commas or blanks");
}

// Ids separated by commas or blanks, at least one before, between and after commas.
std::vector<int32_t> parse_tokens(const std::string& text) {
  std::vector<int32_t> tokens;
  std::istringstream items(text + ',');
  for (std::string item; std::getline(items, item, ',');) {
    std::istringstream words(item);
    std::string word;
    words >> word;
    do tokens.push_back(parse_token(word));
    while (words >> word);
  }
  return tokens;
}

std::vector<int32_t> make_prompt(const Options& options, const engine::Model& model) {
  if (!options.tokens.empty()) return parse_tokens(options.tokens);
  std::string text = options.prompt;
  if (!options.prompt_file.empty()) {
    text = read_file(options.prompt_file);
    if (text.empty())
      throw Error(Status::invalid_argument, "'" + options.prompt_file + "' is empty; expected a prompt");
  }
  if (text.empty()) text = std::string(engine::embedded_sample_text().substr(0, 800));
  return eval::sequence_tokens(model.config(), text);
}

std::string show(const Options& options, const std::vector<int32_t>& tokens) {
  if (options.model.empty()) return engine::ByteTokenizer::decode(tokens);
  std::string text;
  for (const int32_t token : tokens) text += (text.empty() ? "" : " ") + std::to_string(token);
  return text;
}

// One generation with its cache.
class Run {
 public:
  Run(const eval::Runtime& runtime, const Config& config)
      : cache_(eval::make_cache(runtime, config)), decoder_(runtime.model, cache_, runtime.threads) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  std::vector<int32_t> generate(const std::vector<int32_t>& prompt, const engine::GenerateOptions& options) {
    return engine::generate(decoder_, prompt, options);
  }

  engine::KvCache& cache() { return cache_; }

  std::string title(const std::string& name) {
    const Statistics statistics = cache_.cache().statistics(Stream{});
    return name + ", " + std::to_string(statistics.kv_bytes) + " bytes of keys and values";
  }

 private:
  engine::KvCache cache_;
  engine::Decoder decoder_;
};

Config shaped(Config config, const engine::ModelConfig& model, int64_t capacity, size_t max_batch_tokens) {
  if (capacity > INT32_MAX) throw Error(Status::invalid_argument, "the sequence is too long");
  const Config shape = engine::KvCache::make_config(model, static_cast<int32_t>(capacity));
  config.num_layers = shape.num_layers;
  config.num_qo_heads = shape.num_qo_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.head_dim;
  config.capacity = shape.capacity;
  config.dtype = DType::bfloat16;
  if (eval::takes_votes(config)) config.projection_per_head = true;
  config.max_batch_tokens = static_cast<int64_t>(max_batch_tokens);
  return config;
}

// Keeps everything: no zone needs protecting.
Config unbounded(Config config) {
  config.policy = Policy::window;
  config.num_sink_tokens = config.recent_window = 0;
  config.sink_fraction = config.recent_fraction = -1.0F;
  config.centering = Centering::none;
  return config;
}

engine::GenerateOptions generation(const Options& options, const engine::ModelConfig& model) {
  engine::GenerateOptions generate = options.generate;
  generate.stop_tokens = model.eos_tokens;
  if (!options.prefill.empty()) {
    generate.prefill = {parse_option<PrefillMode>("--prefill", options.prefill), options.prefill_window};
  }
  return generate;
}

// What was learned for the model, if the rule takes it.
std::optional<eval::Votes> load_votes(const Options& options, const Config& rule, const engine::ModelConfig& model) {
  if (!eval::takes_votes(rule) && options.votes.empty()) return std::nullopt;
  if (!options.model.empty() && options.votes.empty()) {
    throw Error(Status::invalid_argument,
                "--preset recall needs --votes: what tools/train/calibrate.py learned for it");
  }
  eval::Votes votes = options.votes.empty() ? eval::Votes::embedded(model) : eval::Votes::load(options.votes, model);
  require_votes_fit(rule, votes);
  return votes;
}

std::vector<int32_t> generate_and_trace(Run& run, const std::vector<int32_t>& prompt,
                                        const engine::GenerateOptions& generate, const eval::Runtime& runtime,
                                        const std::string& trace) {
  if (trace.empty()) return run.generate(prompt, generate);
  eval::TraceRecorder recorder(runtime.model.config());
  run.cache().set_observer([&recorder](const Step& step) { recorder.observe(step); });
  std::vector<int32_t> tokens = run.generate(prompt, generate);
  recorder.write(trace, runtime.votes);
  return tokens;
}

std::string slots_by_layer(const Config& config) {
  std::string text;
  for (const int32_t slots : config.layer_capacities) text += (text.empty() ? "" : ", ") + std::to_string(slots);
  return text;
}

void require_valid(const Options& options, const Config& rule) {
  if (!options.model.empty() && options.tokens.empty()) {
    throw Error(Status::invalid_argument, "--model needs --tokens: text is understood by the built-in model only");
  }
  if (options.prefill_window < 1) {
    throw Error(Status::invalid_argument,
                "prefill window = " + std::to_string(options.prefill_window) + ": expected at least 1");
  }
  if (rule.centering == Centering::prompt && options.prefill.empty()) {
    throw Error(Status::invalid_argument, "centering 'prompt' needs a prompt that comes at once; give --prefill");
  }
  if (options.save_trace.empty()) return;
  require_output(options.save_trace, {options.prompt_file, options.votes, options.model});
}

void run_generate(const Options& options) {
  const Config rule = options.rule.config();
  require_valid(options, rule);
  const eval::Budget budget = eval::parse_budget(options.budget);
  const engine::Model model =
      options.model.empty() ? engine::load_embedded_model() : engine::Model::load(options.model);
  const std::optional<eval::Votes> votes = load_votes(options, rule, model.config());
  const engine::GenerateOptions generate = generation(options, model.config());
  const std::vector<int32_t> prompt = make_prompt(options, model);
  const int64_t num_tokens = static_cast<int64_t>(prompt.size()) + generate.max_new_tokens;
  const size_t batch = generate.prefill ? prompt.size() : eval::kBatchTokens;
  const int32_t slots = budget.slots_for(num_tokens);
  engine::ThreadPool threads(rule.num_threads);
  const eval::Runtime runtime{model, threads, votes ? &*votes : nullptr};

  // Both are created first: a config that is not valid is refused before any work is done.
  Config config = shaped(rule, model.config(), slots, batch);
  eval::divide_slots(runtime, config, num_tokens);
  Run bounded = naming_options([&] { return Run(runtime, config); });
  Run full(runtime, unbounded(shaped(rule, model.config(), num_tokens, batch)));
  const std::vector<int32_t> full_tokens = full.generate(prompt, generate);
  const std::vector<int32_t> tokens = generate_and_trace(bounded, prompt, generate, runtime, options.save_trace);

  const auto differs = std::mismatch(full_tokens.begin(), full_tokens.end(), tokens.begin(), tokens.end()).first;
  std::printf("prompt of %zu tokens; the caches' continuations agree in the first %lld of %zu\n", prompt.size(),
              static_cast<long long>(differs - full_tokens.begin()), full_tokens.size());
  if (votes) std::printf("slots by layer, as the votes divide them: %s\n", slots_by_layer(config).c_str());
  const std::string columns =
      eval::side_by_side(full.title("full"), show(options, full_tokens),
                         bounded.title(std::to_string(slots) + " slots"), show(options, tokens), kColumnWidth);
  std::printf("\n%s", columns.c_str());
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("generate", "Continue a prompt with the full and with a bounded cache, side by side");
  const auto options = std::make_shared<Options>();
  auto* text = command->add_option("--prompt", options->prompt, "Text to continue; default: the built-in sample");
  auto* file = command->add_option("--prompt-file", options->prompt_file, "The same from a file");
  auto* tokens = command->add_option("--tokens", options->tokens, "The prompt as token ids, separated by commas");
  text->excludes(file)->excludes(tokens);
  file->excludes(tokens);
  command
      ->add_option("--model", options->model,
                   "Folder with config.json and safetensors of a Llama-style model; default: the built-in one")
      ->check(CLI::ExistingPath);
  command->add_option("--budget", options->budget, "Slots per KV head; with a dot, a fraction of prompt and new tokens")
      ->capture_default_str();
  command->add_option("--max-new-tokens", options->generate.max_new_tokens, "Tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--temperature", options->generate.sampling.temperature, "0: always the most likely token")
      ->capture_default_str();
  command->add_option("--top-k", options->generate.sampling.top_k, "Only the k most likely tokens; 0: all")
      ->capture_default_str();
  command->add_option("--top-p", options->generate.sampling.top_p, "Only the most likely tokens up to this probability")
      ->capture_default_str();
  add_seed_option(*command, "--sample-seed", options->generate.sampling.seed, "Seed of the sampler");
  command->add_option("--prefill", options->prefill,
                      "Take the prompt in at once: replay|window|recent; default: stream it through the bounded cache");
  command->add_option("--prefill-window", options->prefill_window, "Queries and tokens of --prefill window")
      ->capture_default_str();
  command->add_option(
      "--save-trace", options->save_trace,
      "Write the bounded run's queries, keys and values as a trace for replay; with --budget 1.0 they are "
      "those of full attention");
  command->add_option(
      "--votes", options->votes,
      "What --preset recall needs, as tools/train/calibrate.py writes it; default: the built-in model's");
  options->rule.add_to(*command);
  command->callback([options] { run_generate(*options); });
}

}  // namespace hashevict::cli
