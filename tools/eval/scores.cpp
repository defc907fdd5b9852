// SPDX-License-Identifier: Apache-2.0
#include "scores.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"

namespace hashevict::eval {

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
  engine::KvCache cache(config, runtime.threads);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  const std::vector<float> nats = engine::nats_per_token(decoder, sequence_tokens(runtime.model.config(), text));
  return std::accumulate(nats.begin(), nats.end(), 0.0) / static_cast<double>(nats.size());
}

bool recalls(const Runtime& runtime, const Config& config, const Example& example) {
  engine::KvCache cache(config, runtime.threads);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  const std::vector<int32_t> tokens = sequence_tokens(runtime.model.config(), example.prompt + example.answer);
  const std::span<const int32_t> all(tokens);
  const size_t answer_begin = tokens.size() - example.answer.size();
  stream(decoder, all.first(answer_begin - 1), engine::Logits::none);
  // The token before each byte of the answer predicts it.
  const std::span<const float> logits =
      decoder.stream(all.subspan(answer_begin - 1, example.answer.size()), engine::Logits::all);
  const auto vocab_size = static_cast<size_t>(runtime.model.config().vocab_size);
  for (size_t i = 0; i < example.answer.size(); ++i) {
    if (engine::greedy(logits.subspan(i * vocab_size, vocab_size)) != tokens[answer_begin + i]) return false;
  }
  return true;
}

double tokens_per_second(const Runtime& runtime, const Config& config, std::string_view text, size_t num_timed) {
  using Clock = std::chrono::steady_clock;
  engine::KvCache cache(config, runtime.threads);
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
