// SPDX-License-Identifier: Apache-2.0
#include "policies.hpp"

#include <hashevict/status.hpp>
#include <string>

#include "engine/kv_cache.hpp"
#include "scores.hpp"

namespace hashevict::eval {

std::string_view description(std::string_view policy) {
  return parse_policy(policy).row->description;
}

Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed) {
  const PolicyChoice choice = parse_policy(policy);
  if (choice.row->configure == nullptr) {
    throw Error(Status::invalid_argument, "'" + std::string(policy) + "' is not a policy of the library");
  }
  Config config = engine::KvCache::make_config(model, capacity);
  config.dtype = DType::bfloat16;
  config.max_batch_tokens = kBatchTokens;
  config.seed = seed;
  return choice.config(config);
}

uint64_t kv_bytes(std::string_view policy, const Config& config) {
  return ByteModel::of(parse_policy(policy), config).total(config);
}

}  // namespace hashevict::eval
