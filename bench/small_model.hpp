// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/random_checkpoint.hpp"

namespace hashevict::bench {

/// The shape of a model of 135 million parameters.
inline engine::ModelConfig small_model_config() {
  engine::ModelConfig config;
  config.num_layers = 30;
  config.num_qo_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.vocab_size = 49152;
  config.max_position_embeddings = 8192;
  config.rope_theta = 100000;
  config.tie_word_embeddings = true;
  return config;
}

/// Its random weights, in bfloat16.
inline engine::RandomCheckpoint small_checkpoint() {
  return engine::RandomCheckpoint(small_model_config(), engine::ElementType::bf16, 20261129);
}

}  // namespace hashevict::bench
