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

/// What to generate, and how.
struct GenerateOptions {
  std::int32_t max_new_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<std::int32_t> stop_tokens = {};  ///< generation ends after one of them; it is part of the result
  std::optional<PrefillOptions> prefill = {};  ///< absent: the prompt is streamed, one decode step a token
  std::int32_t sequence = 0;
  std::function<void(std::int32_t token)> on_token = {};  ///< called as each token is chosen, if set
};

/// Continues what the sequence holds by `prompt` and then by new tokens. @return the new tokens.
/// The last new token has not been taken into the cache. @throws Error for an empty prompt or ids out of range
std::vector<std::int32_t> generate(Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerateOptions& options);

/// Streams `tokens` into a sequence, in batches.
/// @return for each token but the first its negative log-likelihood in nats given all before it: `tokens.size() - 1`
///         figures. @throws Error
std::vector<float> nats_per_token(Decoder& decoder, std::span<const std::int32_t> tokens, std::int32_t sequence = 0);

}  // namespace hashevict::engine
