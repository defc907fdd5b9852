// SPDX-License-Identifier: Apache-2.0
#include "scores.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>

#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"

namespace hashevict::cli {

namespace {

// Streams a prompt and its answer. Returns whether each token of the answer is the most likely one.
bool answers(engine::Decoder& decoder, std::span<const int32_t> prompt, std::span<const int32_t> due) {
  // The token before each byte of the answer predicts it.
  std::vector<int32_t> given{prompt.back()};
  given.insert(given.end(), due.begin(), due.end() - 1);
  if (prompt.size() > 1) stream(decoder, prompt.first(prompt.size() - 1), engine::Logits::none);
  const std::span<const float> logits = decoder.stream(given, engine::Logits::all);
  const size_t vocab_size = logits.size() / given.size();
  for (size_t i = 0; i < due.size(); ++i) {
    if (engine::greedy(logits.subspan(i * vocab_size, vocab_size)) != due[i]) return false;
  }
  return true;
}

}  // namespace

double nats_per_byte(const Runtime& runtime, const Config& config, std::string_view text) {
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  const std::vector<float> nats = engine::nats_per_token(decoder, sequence_tokens(runtime.model.config(), text));
  return std::accumulate(nats.begin(), nats.end(), 0.0) / static_cast<double>(nats.size());
}

double recall(const Runtime& runtime, const Config& config, const Example& example) {
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  const std::vector<int32_t> prompt = sequence_tokens(runtime.model.config(), example.prompt);
  return answers(decoder, prompt, engine::ByteTokenizer::encode(example.answer)) ? 1.0 : 0.0;
}

double tokens_per_second(const Runtime& runtime, const Config& config, std::string_view text, size_t num_timed) {
  using Clock = std::chrono::steady_clock;
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  const std::vector<int32_t> tokens = sequence_tokens(runtime.model.config(), text);
  const std::span<const int32_t> all(tokens);
  const size_t num_before = tokens.size() - 1 - num_timed;
  stream(decoder, all.first(num_before), engine::Logits::none);
  std::vector<double> seconds;
  for (size_t i = num_before; i < num_before + num_timed; ++i) {
    const Clock::time_point start = Clock::now();
    decoder.stream(all.subspan(i, 1), engine::Logits::last);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(num_timed / 2), seconds.end());
  return 1.0 / seconds[num_timed / 2];
}

std::string continue_prompt(const Runtime& runtime, const Config& config, std::string_view prompt, int32_t num_bytes) {
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  engine::GenerateOptions options;
  options.max_new_tokens = num_bytes;
  return engine::ByteTokenizer::decode(
      engine::generate(decoder, sequence_tokens(runtime.model.config(), prompt), options));
}

}  // namespace hashevict::cli
