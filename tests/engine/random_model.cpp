// SPDX-License-Identifier: Apache-2.0
#include "random_model.hpp"

#include <algorithm>

namespace hashevict::engine {

ModelConfig odd_config() {
  ModelConfig config;
  config.num_layers = 2;
  config.num_qo_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 24;
  config.hidden_size = 37;
  config.intermediate_size = 51;
  config.vocab_size = 41;
  config.max_position_embeddings = 512;
  config.rms_norm_eps = 1e-5F;
  config.rope_scaling.kind = RopeScaling::Kind::llama3;
  config.rope_scaling.factor = 4;
  config.rope_scaling.original_max_position_embeddings = 64;
  return config;
}

Model random_model(const ModelConfig& config, std::uint64_t seed, ElementType type) {
  const RandomCheckpoint checkpoint(config, type, seed);
  return Model(config, checkpoint.table());
}

std::vector<float> Engine::stream(std::span<const std::int32_t> tokens, std::size_t batch) {
  std::vector<float> all;
  for (; !tokens.empty(); tokens = tokens.subspan(std::min(batch, tokens.size()))) {
    const std::span<const float> logits = decoder.stream(tokens.first(std::min(batch, tokens.size())), Logits::all);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

std::vector<float> Engine::prefill(std::span<const std::int32_t> tokens) {
  const std::span<const float> logits = decoder.prefill(tokens, {}, Logits::all);
  return {logits.begin(), logits.end()};
}

}  // namespace hashevict::engine
