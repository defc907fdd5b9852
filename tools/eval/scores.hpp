// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/kv_cache.hpp"
#include "engine/thread_pool.hpp"
#include "tasks.hpp"

namespace hashevict::eval {

class Votes;

/// A model and the threads it runs on.
struct Runtime {
  const engine::Model& model;
  engine::ThreadPool& threads;
  const Votes* votes = nullptr;  ///< what the preset `recall` needs; may be null
};

/// A cache of this config on the runtime's threads. One of the preset `recall` (centring FIXED) takes the votes.
/// @throws Error for a config that is not valid, or if it needs votes and there are none
engine::KvCache make_cache(const Runtime& runtime, const Config& config);

/// Divides the slots of a config that takes votes among its layers, as the votes say; leaves others alone.
void divide_slots(const Runtime& runtime, Config& config, int64_t num_tokens);

/// Tokens that are given to a decoder at once: enough to share matrix products well.
inline constexpr size_t kBatchTokens = 256;

/// Streams tokens of any number through a decoder. @return logits of the last token, or of none. @throws Error
std::span<const float> stream(engine::Decoder& decoder, std::span<const int32_t> tokens, engine::Logits wanted);

/// Tokens of a byte-level sequence: the mark that begins it, then one token a byte.
std::vector<int32_t> sequence_tokens(const engine::ModelConfig& model, std::string_view bytes);

/// Mean negative log-likelihood of the bytes of `text`, in nats, every byte given all before it, streamed through a new
/// cache of this config. @throws Error
double nats_per_byte(const Runtime& runtime, const Config& config, std::string_view text);

/// Share of an example's questions that the model answers, each byte given the true ones before it, every token
/// streamed through a new cache of this config. @throws Error
double recall(const Runtime& runtime, const Config& config, const Example& example);

/// Tokens per second at the end of `text`, one at a time: the median over the last `num_timed` tokens. @throws Error
double tokens_per_second(const Runtime& runtime, const Config& config, std::string_view text, size_t num_timed);

}  // namespace hashevict::eval
