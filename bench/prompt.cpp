// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <hashevict/cache.hpp>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/generate.hpp"
#include "small_model.hpp"

/// Tokens per second of a prompt through the engine of tools/, with random weights of the shape of a model of 135
/// million parameters, under the preset `paper` with 30 % of the tokens as slots. All three ways give the same victims
/// for the same keys: a call for each token, one decode step a token within a call, and one pass over the tokens of a
/// call.
///
/// Rates are per second, and per second of one processor, which other programs on the machine disturb less.
///
/// `hashevict_prompt [TOKENS [THREADS]]`: 2048 tokens and all threads by default.
namespace hashevict::bench {
namespace {

/// A cache that takes every token by a decode step.
class StepByStep final : public engine::AttentionCache {
 public:
  explicit StepByStep(engine::KvCache& cache) : cache_(cache) {}
  int32_t num_layers() const override { return cache_.num_layers(); }
  engine::HeadShape head_shape() const override { return cache_.head_shape(); }
  int64_t max_batch_tokens() const override { return cache_.max_batch_tokens(); }
  int32_t tokens_seen() const override { return cache_.tokens_seen(); }
  void decode(int32_t layer, std::span<const int32_t> tokens, const Activations& x) override {
    cache_.decode(layer, tokens, x);
  }
  void prefill(int32_t layer, std::span<const int32_t> tokens, const Activations& x, PrefillMode mode,
               int32_t prefill_window) override {
    cache_.prefill(layer, tokens, x, mode, prefill_window);
  }
  void advance(int32_t num_tokens) override { cache_.advance(num_tokens); }

 private:
  engine::KvCache& cache_;
};

struct Way {
  const char* name;
  bool in_one_pass;
  std::size_t tokens_a_call;
};

void measure(const engine::Model& model, const Way& way, std::span<const int32_t> prompt, engine::ThreadPool& threads) {
  Config config = engine::KvCache::make_config(model.config(), static_cast<int32_t>(prompt.size() * 3 / 10));
  config.shape.dtype = DType::bfloat16;
  config.execution.max_batch_tokens = engine::kBatchTokens;
  engine::KvCache cache(config, threads);
  StepByStep steps(cache);
  engine::Decoder decoder(model, way.in_one_pass ? static_cast<engine::AttentionCache&>(cache) : steps, threads);
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu_start = std::clock();
  for (std::size_t at = 0; at < prompt.size(); at += way.tokens_a_call) {
    const auto call = prompt.subspan(at, std::min(way.tokens_a_call, prompt.size() - at));
    decoder.stream(call, engine::Logits::none);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu_seconds = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  const auto tokens = static_cast<double>(prompt.size());
  std::printf("%-44s %8.1f tokens/s %8.1f tokens per CPU second\n", way.name, tokens / seconds, tokens / cpu_seconds);
  std::fflush(stdout);
}

bool parse(const char* text, int32_t& number) {
  const std::string_view view = text;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), number);
  return error == std::errc{} && end == view.data() + view.size() && number >= 0;
}

int run(int32_t num_tokens, int32_t num_threads) {
  constexpr std::size_t kCall = engine::kBatchTokens;
  const engine::ModelConfig config = small_model_config();
  const engine::Model model(config, small_checkpoint().table());
  engine::ThreadPool threads(num_threads);
  const std::vector<int32_t> prompt = engine::random_tokens(config, static_cast<std::size_t>(num_tokens));
  std::printf("%lld parameters, %d tokens, %d threads\n", static_cast<long long>(model.num_parameters()), num_tokens,
              threads.num_threads());
  for (const Way& way : {Way{"one call a token", false, 1}, Way{"256 tokens a call, a decode step each", false, kCall},
                         Way{"256 tokens a call, in one pass", true, kCall}}) {
    measure(model, way, prompt, threads);
  }
  return 0;
}

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  int32_t tokens = 2048;
  int32_t threads = 0;
  const bool valid = argc <= 3 && (argc < 2 || hashevict::bench::parse(argv[1], tokens)) &&
                     (argc < 3 || hashevict::bench::parse(argv[2], threads)) && tokens >= 64;
  if (valid) return hashevict::bench::run(tokens, threads);
  std::fprintf(stderr, "usage: hashevict_prompt [TOKENS [THREADS]], 64 tokens or more\n");
  return 2;
}
