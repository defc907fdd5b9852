// SPDX-License-Identifier: Apache-2.0
#include "random_model.hpp"

#include <utility>

namespace hashevict::bench {

engine::ModelConfig small_model_config() {
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

RandomCheckpoint::RandomCheckpoint(const engine::ModelConfig& model) {
  const int64_t hidden = model.hidden_size;
  const int64_t queries = int64_t{model.num_qo_heads} * model.head_dim;
  const int64_t keys = int64_t{model.num_kv_heads} * model.head_dim;
  const int64_t mlp = model.intermediate_size;
  add("model.embed_tokens.weight", {model.vocab_size, hidden});
  add("model.norm.weight", {hidden});
  for (int32_t i = 0; i < model.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {hidden});
    add(layer + "post_attention_layernorm.weight", {hidden});
    add(layer + "self_attn.q_proj.weight", {queries, hidden});
    add(layer + "self_attn.k_proj.weight", {keys, hidden});
    add(layer + "self_attn.v_proj.weight", {keys, hidden});
    add(layer + "self_attn.o_proj.weight", {hidden, queries});
    add(layer + "mlp.gate_proj.weight", {mlp, hidden});
    add(layer + "mlp.up_proj.weight", {mlp, hidden});
    add(layer + "mlp.down_proj.weight", {hidden, mlp});
  }
}

engine::TensorTable RandomCheckpoint::table() const {
  engine::TensorTable table;
  for (const auto& [name, tensor] : tensors_) table.emplace(name, &tensor);
  return table;
}

void RandomCheckpoint::add(const std::string& name, std::vector<int64_t> shape) {
  const bool is_norm = shape.size() == 1;
  const int64_t count = is_norm ? shape[0] : shape[0] * shape[1];
  // 0.0156 .. 0.0625 with either sign, about 1 / sqrt(hidden); norms are 1.
  std::vector<std::byte>& bytes = data_[name];
  bytes.resize(static_cast<std::size_t>(2 * count));
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const auto bits = static_cast<uint32_t>(generator_());
    const uint32_t element = is_norm ? 0x3F80U : 0x3C80U | (bits & 0x80FFU);
    bytes[i] = static_cast<std::byte>(element & 0xFFU);
    bytes[i + 1] = static_cast<std::byte>(element >> 8U);
  }
  tensors_[name] = {name, engine::ElementType::bf16, std::move(shape), bytes};
}

std::vector<int32_t> random_tokens(std::size_t count, int32_t vocab_size) {
  std::mt19937 generator{7};
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(generator() % static_cast<uint32_t>(vocab_size));
  return tokens;
}

}  // namespace hashevict::bench
