// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <hashevict/cache.hpp>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "budget.hpp"
#include "commands.hpp"
#include "engine/decoder.hpp"
#include "engine/embedded_model.hpp"
#include "engine/file_mapping.hpp"
#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"
#include "files.hpp"
#include "memory.hpp"
#include "numbers.hpp"
#include "profile_options.hpp"
#include "rule_options.hpp"
#include "runtime.hpp"
#include "shared_options.hpp"
#include "terminal.hpp"
#include "trace_recorder.hpp"
#include "votes.hpp"

namespace hashevict::cli {
namespace {

constexpr size_t kColumnWidth = 58;

struct Options {
  std::string model, prompt, prompt_file, tokens, prefill, save_trace, votes;
  std::string budget = "0.3";
  int32_t prefill_window = 32;
  engine::GenerateOptions generate;
  RuleOptions rule;
  ProfileOptions profile;
};

int32_t parse_token(const std::string& text) {
  const std::optional<int32_t> token = parse_whole<int32_t>(text);
  if (token) return *token;
  throw Error(Status::invalid_argument,
              "--tokens: '" + text + "' is not a token id; expected ids separated by commas or blanks");
}

// Parses ids separated by commas or blanks, at least one id before, between and after commas.
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

void require_in_vocabulary(const std::vector<int32_t>& tokens, const engine::ModelConfig& model) {
  for (const int32_t token : tokens) {
    if (token >= 0 && token < model.vocab_size) continue;
    throw Error(Status::invalid_argument, "--tokens: " + std::to_string(token) +
                                              " is not a token of this model; expected 0 to " +
                                              std::to_string(model.vocab_size - 1));
  }
}

std::vector<int32_t> make_prompt(const Options& options, const engine::Model& model) {
  if (!options.tokens.empty()) {
    std::vector<int32_t> tokens = parse_tokens(options.tokens);
    require_in_vocabulary(tokens, model.config());
    return tokens;
  }
  std::string text = options.prompt;
  if (!options.prompt_file.empty()) {
    text = read_file(options.prompt_file);
    if (text.empty())
      throw Error(Status::invalid_argument, "'" + options.prompt_file + "' is empty; expected a prompt");
  }
  if (text.empty()) text = std::string(engine::embedded_sample_text().substr(0, 800));
  return sequence_tokens(model.config(), text);
}

// Whether the output is ids: on one line, each as it is chosen, for other programs. Texts are printed side by side at
// the end.
bool prints_ids(const Options& options) {
  return !options.tokens.empty();
}

// One generation with its cache.
class Run {
 public:
  Run(const Runtime& runtime, const Config& config)
      : cache_(make_cache(runtime, config)), decoder_(runtime.model, cache_, runtime.threads) {}
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

Config shaped(const Config& rule, const engine::ModelConfig& model, int64_t capacity, int64_t max_batch_tokens) {
  if (capacity > INT32_MAX) throw Error(Status::invalid_argument, "the sequence is too long");
  Config config = engine::KvCache::make_config(model, static_cast<int32_t>(capacity));
  config.shape.dtype = DType::bfloat16;
  config.rule = rule.rule;
  if (takes_votes(config)) config.rule.projection_per_head = true;
  config.placement = rule.placement;
  config.execution = rule.execution;
  config.execution.max_batch_tokens = max_batch_tokens;
  return config;
}

// A cache that keeps every token needs no protected zone.
Config unbounded(Config config) {
  config.rule.policy = Policy::window;
  config.rule.num_sink_tokens = config.rule.recent_window = 0;
  config.rule.sink_fraction = config.rule.recent_fraction = -1.0F;
  config.rule.centering = Centering::none;
  config.rule.projection_kind = ProjectionKind::gaussian;
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

// Loads the votes learned for the model, if the rule takes votes and the profile has none for it.
std::optional<Votes> load_votes(const Options& options, const Config& rule, const engine::ModelConfig& model,
                                const std::optional<Profile>& profile) {
  if (!options.votes.empty() && profile) require_one_teacher(*profile, rule);
  const bool taught = profile && profile->teaches(rule);
  if ((taught || !takes_votes(rule)) && options.votes.empty()) return std::nullopt;
  if (!options.model.empty() && options.votes.empty()) {
    throw Error(
        Status::invalid_argument,
        "--preset recall needs --votes, the file that lab/train/calibrate.py writes, or a --profile with projections");
  }
  Votes votes = options.votes.empty() ? Votes::embedded(model) : Votes::load(options.votes, model);
  require_votes_fit(rule, votes);
  return votes;
}

// Generates a run's new tokens, and prints ids or progress meanwhile.
std::vector<int32_t> generate_and_tell(Run& run, const Options& options, const std::vector<int32_t>& prompt,
                                       engine::GenerateOptions generate, const std::string& name) {
  ProgressLine line(ProgressLine::Elsewhere::nothing);
  int32_t count = 0;
  generate.on_token = [&](int32_t token) {
    ++count;
    if (!prints_ids(options)) return line.show(name, count / static_cast<double>(generate.max_new_tokens));
    if (count == 1) std::printf("%s:", name.c_str());  // not earlier: the prompt may be refused
    std::printf(" %d", token);
    if (std::fflush(stdout) == 0) return;
    throw Error(Status::internal, "standard output cannot be written: " + std::generic_category().message(errno));
  };
  std::vector<int32_t> tokens = run.generate(prompt, generate);
  if (prints_ids(options)) std::printf("\n");
  line.finish();
  return tokens;
}

// Warns that output beyond the model's trained context is unreliable; the model itself gives no sign of it.
void warn_of_long_context(int64_t num_positions, const engine::ModelConfig& model) {
  if (num_positions <= model.max_position_embeddings) return;
  std::fprintf(stderr,
               "hashevict: warning: prompt and new tokens take %lld positions, but the model was trained for %d "
               "(max_position_embeddings)\n",
               static_cast<long long>(num_positions), model.max_position_embeddings);
}

// Notes in the output that the run exceeded the model's trained context.
void print_long_context(size_t num_positions, const engine::ModelConfig& model) {
  if (num_positions <= static_cast<size_t>(model.max_position_embeddings)) return;
  std::printf("note: %zu positions, but the model was trained for %d; later text is unreliable\n", num_positions,
              model.max_position_embeddings);
}

std::string slots_by_layer(const Config& config) {
  std::vector<int32_t> slots(static_cast<size_t>(config.shape.num_layers));
  for (size_t layer = 0; layer < slots.size(); ++layer) slots[layer] = most_slots(config, static_cast<int32_t>(layer));
  return fmt::format("slots by layer, as the votes divide them: {}\n", fmt::join(slots, ", "));
}

std::string slots_by_head(const Config& config) {
  std::string text = "slots by layer and head, as the profile divides them: ";
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    if (layer > 0) text += ", ";
    for (int32_t head = 0; head < config.shape.num_kv_heads; ++head) {
      text += (head > 0 ? "/" : "") + std::to_string(head_capacity(config, layer, head));
    }
  }
  return text + "\n";
}

// The mean slots of a KV head.
int64_t mean_slots(const Config& config) {
  int64_t sum = 0;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) sum += sum_of_slots(config, layer);
  return sum / (int64_t{config.shape.num_layers} * config.shape.num_kv_heads);
}

void require_valid(const Options& options, const Config& rule) {
  if (!options.model.empty() && options.tokens.empty()) {
    throw Error(Status::invalid_argument, "--model needs --tokens: text is understood by the built-in model only");
  }
  if (rule.rule.policy == Policy::importance && options.profile.file.empty()) {
    throw Error(Status::invalid_argument,
                "--policy importance: expected a --profile with weights, since no model brings importances; "
                "`replay` takes them from a trace");
  }
  if (options.prefill_window < 1) {
    throw Error(Status::invalid_argument,
                "prefill window = " + std::to_string(options.prefill_window) + ": expected at least 1");
  }
  if (rule.rule.centering == Centering::prompt && options.prefill.empty()) {
    throw Error(Status::invalid_argument, "centering 'prompt' needs a prompt that comes at once; give --prefill");
  }
  if (options.save_trace.empty()) return;
  require_output(options.save_trace, {options.prompt_file, options.votes, options.model, options.profile.file});
}

// Policy importance needs weights in the profile.
void require_weights(const Options& options, const Config& rule, const std::optional<Profile>& profile) {
  if (rule.rule.policy != Policy::importance || (profile && profile->has_importance())) return;
  throw Error(Status::invalid_data, options.profile.file +
                                        ": layers.0.importance.weight is missing; expected it, and "
                                        "layers.0.importance.bias, for --policy importance");
}

// Refuses a run that the kernel would kill halfway for its memory.
void require_memory_for(const Runtime& runtime, const Options& options, std::initializer_list<Config> caches,
                        int64_t num_tokens, int64_t batch) {
  const engine::ModelConfig& model = runtime.model.config();
  uint64_t bytes = decoder_bytes(model, runtime.model.num_parameters(), batch);
  for (const Config& config : caches) bytes += Cache::required_bytes(config).total;
  if (!options.save_trace.empty()) bytes += trace_bytes(model, num_tokens);
  require_memory("--budget, --max-new-tokens", bytes);
}

void run_generate(const Options& options) {
  const Config rule = options.rule.config();
  require_valid(options, rule);
  const std::vector<Budget> budgets = parse_budgets(options.budget);
  if (!options.profile.file.empty()) require_one_mean(budgets);
  const engine::Model model = load_model(options.model);
  const std::optional<Profile> profile = options.profile.load(model.config());
  require_weights(options, rule, profile);
  const std::optional<Votes> votes = load_votes(options, rule, model.config(), profile);
  engine::FileMapping::require_unchanged();  // all are copied by now
  const engine::GenerateOptions generate = generation(options, model.config());
  const std::vector<int32_t> prompt = make_prompt(options, model);
  const int64_t num_tokens = static_cast<int64_t>(prompt.size()) + generate.max_new_tokens;
  const int64_t batch = generate.prefill ? static_cast<int64_t>(prompt.size()) : engine::kBatchTokens;
  engine::ThreadPool threads(rule.execution.num_threads);
  const Runtime runtime{model, threads, votes ? &*votes : nullptr, profile ? &*profile : nullptr,
                        options.profile.floor};

  // Creates both caches first, which refuses an invalid config before any work is done.
  Config config = shaped(rule, model.config(), 0, batch);
  set_capacities(config, budgets, num_tokens);
  if (profile) profile->configure(config);
  if (budgets.size() == 1) divide_slots(runtime, config, num_tokens);
  const Config full_config = unbounded(shaped(rule, model.config(), num_tokens, batch));
  naming_options([&] { require_memory_for(runtime, options, {config, full_config}, num_tokens, batch); });
  Run bounded = naming_options([&] { return Run(runtime, config); });
  Run full(runtime, full_config);
  warn_of_long_context(num_tokens, model.config());
  const std::string bounded_name = std::to_string(mean_slots(config)) + " slots";
  const std::vector<int32_t> full_tokens = generate_and_tell(full, options, prompt, generate, "full");
  TraceRecorder recorder(model.config());
  if (!options.save_trace.empty()) {
    bounded.cache().set_observer([&](const engine::KvCache::Observation& step) { recorder.observe(step); });
  }
  const std::vector<int32_t> tokens = generate_and_tell(bounded, options, prompt, generate, bounded_name);
  if (!options.save_trace.empty()) {
    recorder.write(options.save_trace,
                   [&](engine::SafetensorsWriter& writer) { add_learned(runtime, config, writer); });
  }

  const auto differs = std::mismatch(full_tokens.begin(), full_tokens.end(), tokens.begin(), tokens.end()).first;
  std::printf("prompt of %zu tokens; the caches' continuations agree in the first %lld of %zu\n", prompt.size(),
              static_cast<long long>(differs - full_tokens.begin()), full_tokens.size());
  print_long_context(prompt.size() + std::max(full_tokens.size(), tokens.size()), model.config());
  if (profile) {
    std::fputs(slots_by_head(config).c_str(), stdout);
  } else if (votes) {
    std::fputs(slots_by_layer(config).c_str(), stdout);
  }
  if (prints_ids(options)) {
    std::printf("%s\n%s\n", full.title("full").c_str(), bounded.title(bounded_name).c_str());
    return;
  }
  const auto text = [](const std::vector<int32_t>& ids) { return engine::ByteTokenizer::decode(ids); };
  const std::string columns =
      side_by_side(full.title("full"), text(full_tokens), bounded.title(bounded_name), text(tokens), kColumnWidth);
  std::printf("\n%s", columns.c_str());
}

}  // namespace

void add_generate(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("generate", "Continue a prompt with the full and with a bounded cache, side by side");
  const auto options = std::make_shared<Options>();
  auto* text = command->add_option("--prompt", options->prompt, "Text to continue; default: the built-in sample");
  auto* file = command->add_option("--prompt-file", options->prompt_file, "File with the text to continue");
  auto* tokens = command->add_option("--tokens", options->tokens, "The prompt as token ids, separated by commas");
  text->excludes(file)->excludes(tokens);
  file->excludes(tokens);
  command->add_option("--model", options->model,
                      "Folder with config.json and safetensors of a Llama-style model; default: the built-in one");
  command
      ->add_option("--budget", options->budget,
                   "Slots per KV head; with a dot, a fraction of prompt and new tokens; with commas, one a layer, or "
                   "one a KV head, layer by layer; with --profile, the mean over the heads")
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
                      "Prefill the prompt: replay|window|recent; default: stream it through the bounded cache");
  command->add_option("--prefill-window", options->prefill_window, "Queries and tokens of --prefill window, 1 or more")
      ->capture_default_str();
  command->add_option(
      "--save-trace", options->save_trace,
      "Write the bounded run's queries, keys and values as a trace for replay; with --budget 1.0 they are "
      "those of full attention");
  command->add_option("--votes", options->votes,
                      "Votes for --preset recall, written by lab/train/calibrate.py; default: the built-in model's");
  options->profile.add_to(*command);
  options->rule.add_to(*command);
  command->callback([options] { run_generate(*options); });
}

}  // namespace hashevict::cli
