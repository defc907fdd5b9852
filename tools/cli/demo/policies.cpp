// SPDX-License-Identifier: Apache-2.0
#include "policies.hpp"

#include "cli/budget.hpp"
#include "cli/runtime.hpp"
#include "engine/kv_cache.hpp"

namespace hashevict::cli {
namespace {

bool keeps_codes(const Config& config) {
  return config.rule.policy != Policy::window && config.rule.policy != Policy::random;
}

}  // namespace

Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed) {
  Config config = engine::KvCache::make_config(model, capacity);
  config.shape.dtype = DType::bfloat16;
  config.execution.max_batch_tokens = engine::kBatchTokens;
  config.rule = Rule{Preset::paper};
  demo_policy(policy).configure(config);
  config.rule.seed = seed;  // presets set every field of a rule
  return config;
}

KeptBytes KeptBytes::of_full(const Config& config) {
  return {2 * int64_t{config.shape.head_dim} * 2, 0};
}

KeptBytes KeptBytes::of_rule(const Config& config) {
  KeptBytes bytes = of_full(config);
  bytes.slot += 4;  // the position
  if (keeps_codes(config)) bytes.slot += config.rule.hash_bits / 8;
  if (config.rule.policy == Policy::superseded) bytes.slot += 1;  // the smallest distance so far
  if (config.rule.policy == Policy::mean) bytes.head += int64_t{4} * config.shape.head_dim;
  return bytes;
}

uint64_t KeptBytes::total(const Config& config) const {
  int64_t bytes = head * config.shape.num_layers * config.shape.num_kv_heads;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) bytes += slot * sum_of_slots(config, layer);
  return static_cast<uint64_t>(bytes);
}

uint64_t kv_bytes(std::string_view policy, const Config& config) {
  return (policy == kFull ? KeptBytes::of_full(config) : KeptBytes::of_rule(config)).total(config);
}

}  // namespace hashevict::cli
