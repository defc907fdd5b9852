// SPDX-License-Identifier: Apache-2.0
#include "scores.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"
#include "votes.hpp"

namespace hashevict::eval {

namespace {

/// Streams a turn and says whether each byte of the answer was the most likely one.
bool answers(engine::Decoder& decoder, std::span<const int32_t> prompt, std::string_view answer) {
  const std::vector<int32_t> due = engine::ByteTokenizer::encode(answer);
  // The token before each byte of the answer predicts it; the last byte is streamed for the turns to come.
  std::vector<int32_t> given{prompt.back()};
  given.insert(given.end(), due.begin(), due.end());
  stream(decoder, prompt.first(prompt.size() - 1), engine::Logits::none);
  const std::span<const float> logits = decoder.stream(given, engine::Logits::all);
  const size_t vocab_size = logits.size() / given.size();
  for (size_t i = 0; i < due.size(); ++i) {
    if (engine::greedy(logits.subspan(i * vocab_size, vocab_size)) != due[i]) return false;
  }
  return true;
}

}  // namespace

engine::KvCache make_cache(const Runtime& runtime, const Config& config) {
  engine::KvCache cache(config, runtime.threads);
  if (takes_votes(config)) {
    if (runtime.votes == nullptr) throw Error(Status::invalid_argument, "recall: no votes were learned for this model");
    runtime.votes->apply(cache.cache());
  }
  return cache;
}

void divide_slots(const Runtime& runtime, Config& config, int64_t num_tokens) {
  if (takes_votes(config) && runtime.votes != nullptr) runtime.votes->divide(config, num_tokens);
}

std::span<const float> stream(engine::Decoder& decoder, std::span<const int32_t> tokens, engine::Logits wanted) {
  while (tokens.size() > kBatchTokens) {
    decoder.stream(tokens.first(kBatchTokens), engine::Logits::none);
    tokens = tokens.subspan(kBatchTokens);
  }
  return decoder.stream(tokens, wanted);
}

std::vector<int32_t> sequence_tokens(const engine::ModelConfig& model, std::string_view bytes) {
  std::vector<int32_t> tokens = engine::ByteTokenizer::encode(bytes);
  if (model.bos_token) tokens.insert(tokens.begin(), *model.bos_token);
  return tokens;
}

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
  int num_right = answers(decoder, prompt, example.answer) ? 1 : 0;
  for (const Turn& turn : example.more) {
    if (answers(decoder, engine::ByteTokenizer::encode(turn.prompt), turn.answer)) ++num_right;
  }
  return num_right / static_cast<double>(1 + example.more.size());
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

}  // namespace hashevict::eval
