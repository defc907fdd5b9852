// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "decoder.hpp"
#include "sampler.hpp"

namespace hashevict::engine {

/// The tokens of a decoder's call: enough for efficient matrix products, few enough for activations to stay in the
/// processor's caches.
inline constexpr std::int64_t kBatchTokens = 256;

/// Streams any number of tokens through a decoder. @return logits of the last token; empty without one. @throws Error
std::span<const float> stream(Decoder& decoder, std::span<const std::int32_t> tokens, Logits wanted);

/// The length, sampling and stop tokens of a generation, and its callback.
struct GenerateOptions {
  std::int32_t max_new_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<std::int32_t> stop_tokens = {};  ///< generation ends after one of them; it is part of the result
  std::optional<PrefillOptions> prefill = {};  ///< absent: the prompt is streamed
  std::function<void(std::int32_t token)> on_token = {};  ///< called as each token is chosen, if set
};

/// Appends `prompt` to the cache's sequence and generates new tokens. @return the new tokens.
/// The cache has not seen the last one. @throws Error for an empty prompt or ids out of range
std::vector<std::int32_t> generate(Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options);

/// Streams `tokens` through a decoder, in batches.
/// @return the negative log-likelihood in nats of each token but the first, given all before it: `tokens.size() - 1`
///         numbers. @throws Error
std::vector<float> nats_per_token(Decoder& decoder, std::span<const std::int32_t> tokens);

}  // namespace hashevict::engine
