// SPDX-License-Identifier: Apache-2.0
#include "policies.hpp"

#include <hashevict/cache.hpp>
#include <string>

#include "engine/kv_cache.hpp"
#include "scores.hpp"

namespace hashevict::eval {

std::string_view description(std::string_view policy) {
  if (policy == kFull) return "every token kept";
  if (policy == "paper") return "the paper's rule: evict the key farthest from the current queries, 16 bits";
  if (policy == "superseded") return "evict the key that a later key has come closest to, 64 bits, half of it recent";
  if (policy == "recall") return "evict the key that the fewest learned bits vote for, 64 bits, a fifth of it recent";
  if (policy == "window") return "sinks and the most recent tokens";
  if (policy == "random") return "evict at random";
  return "";
}

Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed) {
  Config config = engine::KvCache::make_config(model, capacity);
  config.dtype = DType::bfloat16;
  config.max_batch_tokens = kBatchTokens;
  config.seed = seed;
  if (policy == "superseded") {
    config.apply(Preset::superseded);
  } else if (policy == "recall") {
    config.apply(Preset::recall);
  } else if (policy == "window" || policy == kFull) {
    config.policy = Policy::window;
  } else if (policy == "random") {
    config.policy = Policy::random;
  } else if (policy != "paper") {
    throw Error(Status::invalid_argument, "'" + std::string(policy) + "' is not a policy of the demo");
  }
  return config;
}

uint64_t kv_bytes(std::string_view policy, const Config& config) {
  const Bytes bytes = Cache::required_bytes(config);
  const bool coded = policy == "paper" || policy == "superseded" || policy == "recall";
  const uint64_t positions = policy == kFull ? 0 : bytes.positions;
  const bool remembers = policy == "superseded";  // one byte a slot: the smallest distance to a later key
  const uint64_t heads = static_cast<uint64_t>(config.num_layers) * static_cast<uint64_t>(config.num_kv_heads);
  const uint64_t counters = policy == "recall" ? heads * static_cast<uint64_t>(config.hash_bits) * 4 : 0;
  return bytes.keys + bytes.values + positions + (coded ? bytes.codes : 0) + (remembers ? positions / 4 : 0) + counters;
}

}  // namespace hashevict::eval
