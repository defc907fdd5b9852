// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <hashevict/cache.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/generate.hpp"
#include "ratio.hpp"
#include "small_model.hpp"

/// End to end: the engine of tools/ on random weights of the shape of a model of 135 million parameters, with the full
/// cache and with slots for a part of the context, the same for every head or as unequal as calibrated ones. Time to
/// the first token and bytes for one prompt; behind contexts of several lengths, tokens per second and the share of a
/// step that eviction takes.
///
/// `hashevict_engine_bench [--json FILE] [TOKENS]`: a prompt of 4096 tokens by default.
namespace hashevict::bench {
namespace {

constexpr int32_t kNewTokens = 48;
constexpr int32_t kStepsPerRound = 4;
constexpr int32_t kLongestContext = 8192 - kNewTokens;  ///< of the model
/// Contexts whose keys and values are random: a step's time does not depend on them.
constexpr int32_t kContexts[] = {1024, 2048, kLongestContext};

struct Budget {
  std::string name;
  int32_t percent;
  bool ragged;
};

/// Slots of every head; where heads differ their mean, of every eight: one with four times the mean, one with twice,
/// two with a half and four with a quarter.
Config config_of(const engine::ModelConfig& model, const Budget& budget, int32_t context) {
  constexpr int32_t kQuarters[8] = {1, 2, 16, 1, 1, 8, 2, 1};
  const int32_t slots = context / 100 * budget.percent;
  Config config = engine::KvCache::make_config(model, budget.percent == 100 ? context : slots);
  const int32_t heads = model.num_layers * model.num_kv_heads;
  for (int32_t head = 0; budget.ragged && head < heads; ++head) {
    config.shape.capacities.push_back(slots * kQuarters[head % 8] / 4);
  }
  config.shape.dtype = DType::bfloat16;
  config.execution.max_batch_tokens = engine::kBatchTokens;
  return config;
}

/// A cache for a context, and a decoder over it.
class Session {
 public:
  Session(const engine::Model& model, const Budget& budget, int32_t context, engine::ThreadPool& threads)
      : budget_(budget),
        cache_(config_of(model.config(), budget, context + kNewTokens), threads),
        decoder_(model, cache_, threads) {}

  /// Streams a prompt through the model.
  void prompt(std::span<const int32_t> tokens) {
    first_token_seconds_ = seconds([&] { stream(tokens); }, 1);
  }
  /// Fills the cache with random keys and values of so many tokens instead.
  void fill(int32_t context) {
    const Shape& shape = cache_.config().shape;
    const std::vector<float> elements = random_elements(2 * engine::kBatchTokens * shape.num_qo_heads * shape.head_dim);
    std::size_t at = 0;  // another window for every call
    for (int32_t first = 0; first < context; first += static_cast<int32_t>(engine::kBatchTokens)) {
      const int64_t tokens = std::min<int64_t>(engine::kBatchTokens, context - first);
      const auto random = [&](int32_t heads) {
        at = (at + 7919) % (elements.size() / 2);
        return Tensor(elements.data() + at, {tokens, heads, shape.head_dim});
      };
      const int32_t bounds[] = {0, static_cast<int32_t>(tokens)};
      PrefillArgs args;
      args.batch.cu_seqlens = Tensor(bounds, {2});
      for (; args.layer < shape.num_layers; ++args.layer) {
        args.q = random(shape.num_qo_heads);
        args.k = random(shape.num_kv_heads);
        args.v = random(shape.num_kv_heads);
        cache_.cache().prefill(args, Stream{});
      }
      cache_.advance(static_cast<int32_t>(tokens));
    }
  }

  [[nodiscard]] const Budget& budget() const { return budget_; }
  [[nodiscard]] double first_token_seconds() const { return first_token_seconds_; }
  /// Of keys, values and state.
  [[nodiscard]] double bytes() const {
    const Bytes bytes = Cache::required_bytes(cache_.config());
    return static_cast<double>(bytes.keys + bytes.values + bytes.state);
  }
  /// Seconds of one more token.
  double step() {
    const int32_t token = 7;
    return seconds([&] { decoder_.stream({&token, 1}, engine::Logits::last); }, kStepsPerRound);
  }
  /// Seconds that the steps of all layers take without attention and the model.
  double evict() {
    const Shape& shape = cache_.config().shape;
    std::vector<float> q(static_cast<std::size_t>(shape.num_qo_heads * shape.head_dim), 0.5F);
    std::vector<float> k(static_cast<std::size_t>(shape.num_kv_heads * shape.head_dim), 0.25F);
    AppendArgs args;
    args.q = Tensor(q.data(), {1, shape.num_qo_heads, shape.head_dim});
    args.k = args.v = Tensor(k.data(), {1, shape.num_kv_heads, shape.head_dim});
    return seconds(
        [&] {
          for (args.layer = 0; args.layer < shape.num_layers; ++args.layer) cache_.cache().append(args, Stream{});
        },
        kStepsPerRound);
  }

 private:
  static std::vector<float> random_elements(int64_t count) {
    std::mt19937 generator{3};
    std::normal_distribution<float> normal;
    std::vector<float> elements(static_cast<std::size_t>(count));
    for (float& element : elements) element = normal(generator);
    return elements;
  }

  void stream(std::span<const int32_t> tokens) {
    for (std::size_t at = 0; at < tokens.size(); at += engine::kBatchTokens) {
      const auto call = tokens.subspan(at, std::min<std::size_t>(engine::kBatchTokens, tokens.size() - at));
      const bool last = at + call.size() == tokens.size();
      decoder_.stream(call, last ? engine::Logits::last : engine::Logits::none);
    }
  }

  Budget budget_;
  engine::KvCache cache_;
  engine::Decoder decoder_;
  double first_token_seconds_ = 0;
};

using Sessions = std::vector<std::unique_ptr<Session>>;

Figure exact(double value) {
  return {value, value, value};
}

nlohmann::json row(const std::string& section, const Session& session, const Figure& figure, const char* better) {
  auto made = make_row({section, session.budget().name, "", "the full cache"}, figure);
  made["better"] = better;
  return made;
}

/// Steps of all sessions in turn.
void measure_steps(const Sessions& sessions, int32_t context, nlohmann::json& rows) {
  const std::string behind = " behind " + std::to_string(context) + " tokens";
  std::vector<std::vector<double>> speed(sessions.size()), share(sessions.size()), steps(sessions.size());
  for (int32_t round = 0; round < kNewTokens / kStepsPerRound; ++round) {
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      steps[i].push_back(sessions[i]->step());
      speed[i].push_back(steps[0].back() / steps[i].back());
    }
  }
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    rows.push_back(row("engine: tokens per second" + behind, *sessions[i], figure_of(speed[i]), "more"));
    rows.back()["tokens_per_second"] = 1 / median(steps[i]);
  }
  for (std::size_t i = 1; i < sessions.size(); ++i) {
    for (const double step : steps[i]) share[i].push_back(sessions[i]->evict() / step);
    rows.push_back(row("engine: eviction's share of a step" + behind, *sessions[i], figure_of(share[i]), "less"));
    rows.back()["peer"] = "a step of the engine";
  }
}

/// The full cache first.
Sessions all_sessions(const engine::Model& model, int32_t context, engine::ThreadPool& threads) {
  Sessions sessions;
  sessions.push_back(std::make_unique<Session>(model, Budget{"full cache", 100, false}, context, threads));
  for (const int32_t percent : {50, 30, 10}) {
    for (const bool ragged : {false, true}) {
      const Budget budget{std::to_string(percent) + (ragged ? " %, heads differ" : " %"), percent, ragged};
      sessions.push_back(std::make_unique<Session>(model, budget, context, threads));
    }
  }
  return sessions;
}

nlohmann::json measure(int32_t num_tokens) {
  const engine::ModelConfig config = small_model_config();
  const engine::Model model(config, small_checkpoint().table());
  engine::ThreadPool threads(0);
  const std::vector<int32_t> prompt = engine::random_tokens(config, static_cast<std::size_t>(num_tokens));
  nlohmann::json rows = nlohmann::json::array();
  for (const int32_t context : kContexts) {
    const Sessions sessions = all_sessions(model, context, threads);
    for (const auto& session : sessions) session->fill(context);
    measure_steps(sessions, context, rows);
  }
  const Sessions sessions = all_sessions(model, num_tokens, threads);
  for (const auto& session : sessions) session->prompt(prompt);
  const std::string first = "engine: time to first token of " + std::to_string(num_tokens);
  for (const auto& session : sessions) {
    const double relative = session->first_token_seconds() / sessions[0]->first_token_seconds();
    rows.push_back(row(first, *session, exact(relative), "less"));
    rows.back()["seconds"] = session->first_token_seconds();
    rows.push_back(row("engine: bytes of the cache", *session, exact(session->bytes() / sessions[0]->bytes()), "less"));
    rows.back()["bytes"] = session->bytes();
  }
  measure_steps(sessions, num_tokens, rows);
  return {{"rows", rows}};
}

int run(std::span<const std::string_view> arguments) {
  const bool writes = arguments.size() >= 2 && arguments[0] == "--json";
  const std::string_view file = writes ? arguments[1] : "";
  const auto rest = arguments.subspan(writes ? 2 : 0);
  int32_t tokens = 4096;
  if (!rest.empty()) {
    const auto [end, error] = std::from_chars(rest[0].data(), rest[0].data() + rest[0].size(), tokens);
    if (error != std::errc{} || end != rest[0].data() + rest[0].size()) tokens = 0;
  }
  if (rest.size() > 1 || tokens < 1024 || tokens > 8000) {
    std::fprintf(stderr, "usage: hashevict_engine_bench [--json FILE] [TOKENS], 1024 to 8000 tokens\n");
    return 2;
  }
  const std::string text = measure(tokens).dump(1);
  if (!writes) return 0;
  std::FILE* const out = std::fopen(std::string(file).c_str(), "w");
  if (out == nullptr || std::fputs(text.c_str(), out) < 0 || std::fclose(out) != 0) {
    std::fprintf(stderr, "hashevict_engine_bench: cannot write %s\n", std::string(file).c_str());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  return hashevict::bench::run(arguments);
}
