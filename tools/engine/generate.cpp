// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>

namespace hashevict::engine {
namespace {

std::size_t batch_tokens(Decoder& decoder) {
  return static_cast<std::size_t>(std::min<std::int64_t>(kBatchTokens, decoder.cache().max_batch_tokens()));
}

}  // namespace

std::span<const float> stream(Decoder& decoder, std::span<const std::int32_t> tokens, Logits wanted) {
  const std::size_t size = batch_tokens(decoder);
  for (; tokens.size() > size; tokens = tokens.subspan(size)) decoder.stream(tokens.first(size), Logits::none);
  return decoder.stream(tokens, wanted);
}

std::vector<std::int32_t> generate(Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options) {
  if (prompt.empty()) throw Error{Status::invalid_argument, "prompt: is empty"};
  Sampler sampler(options.sampling);
  std::vector<std::int32_t> tokens;
  std::span<const float> logits =
      options.prefill ? decoder.prefill(prompt, *options.prefill, Logits::last) : stream(decoder, prompt, Logits::last);
  for (std::int32_t i = 0; i < options.max_new_tokens; ++i) {
    if (i > 0) logits = decoder.stream(std::span(&tokens.back(), 1), Logits::last);
    tokens.push_back(sampler.sample(logits));
    if (options.on_token) options.on_token(tokens.back());
    const auto& stops = options.stop_tokens;
    if (std::find(stops.begin(), stops.end(), tokens.back()) != stops.end()) break;
  }
  return tokens;
}

std::vector<float> nats_per_token(Decoder& decoder, std::span<const std::int32_t> tokens) {
  const auto vocab = static_cast<std::size_t>(decoder.model().config().vocab_size);
  const std::size_t size = batch_tokens(decoder);
  std::vector<float> nats;
  for (std::size_t begin = 0; begin < tokens.size(); begin += size) {
    const auto batch = tokens.subspan(begin, std::min(size, tokens.size() - begin));
    const std::span<const float> logits = decoder.stream(batch, Logits::all);
    for (std::size_t t = begin; t < begin + batch.size() && t + 1 < tokens.size(); ++t) {
      nats.push_back(
          static_cast<float>(negative_log_likelihood(logits.subspan((t - begin) * vocab, vocab), tokens[t + 1])));
    }
  }
  return nats;
}

}  // namespace hashevict::engine
