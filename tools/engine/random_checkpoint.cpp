// SPDX-License-Identifier: Apache-2.0
#include "random_checkpoint.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

namespace hashevict::engine {
namespace {

float random_weight(std::mt19937_64& generator, float scale, float offset) {
  const auto draw = static_cast<float>(generator() % 129) / 64.0F - 1.0F;
  return std::round((draw * scale + offset) * 64.0F) / 64.0F;
}

std::uint16_t to_half(float value) {  // of zero or a normal number that fp16 represents exactly
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  if (value == 0) return static_cast<std::uint16_t>(sign);
  const std::uint32_t exponent = ((bits >> 23) & 0xffU) - 112;
  return static_cast<std::uint16_t>(sign | (exponent << 10) | ((bits >> 13) & 0x3ffU));
}

void store(float value, ElementType type, std::byte* to) {
  if (type == ElementType::f32) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  const std::uint16_t narrow =
      type == ElementType::f16 ? to_half(value) : static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
  std::memcpy(to, &narrow, sizeof narrow);
}

std::map<std::string, std::vector<std::int64_t>> shapes(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t mlp = config.intermediate_size;
  const std::int64_t queries = std::int64_t{config.num_qo_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  std::map<std::string, std::vector<std::int64_t>> result = {{"model.embed_tokens.weight", {config.vocab_size, hidden}},
                                                             {"model.norm.weight", {hidden}}};
  if (!config.tie_word_embeddings) result["lm_head.weight"] = {config.vocab_size, hidden};
  for (std::int32_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    result[layer + "input_layernorm.weight"] = {hidden};
    result[layer + "self_attn.q_proj.weight"] = {queries, hidden};
    result[layer + "self_attn.k_proj.weight"] = {keys, hidden};
    result[layer + "self_attn.v_proj.weight"] = {keys, hidden};
    result[layer + "self_attn.o_proj.weight"] = {hidden, queries};
    result[layer + "post_attention_layernorm.weight"] = {hidden};
    result[layer + "mlp.gate_proj.weight"] = {mlp, hidden};
    result[layer + "mlp.up_proj.weight"] = {mlp, hidden};
    result[layer + "mlp.down_proj.weight"] = {hidden, mlp};
  }
  return result;
}

}  // namespace

RandomCheckpoint::RandomCheckpoint(const ModelConfig& config, ElementType type, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  for (const auto& [name, shape] : shapes(config)) {
    const bool is_norm = shape.size() == 1;
    const std::int64_t count = is_norm ? shape[0] : shape[0] * shape[1];
    const float scale = is_norm ? 0.5F : 2.0F / std::sqrt(static_cast<float>(shape[1]));
    std::vector<std::byte>& bytes = data_[name];
    bytes.resize(static_cast<std::size_t>(count) * element_bytes(type));
    for (std::byte* to = bytes.data(); to != bytes.data() + bytes.size(); to += element_bytes(type)) {
      store(random_weight(generator, scale, is_norm ? 1.0F : 0.0F), type, to);
    }
    tensors_[name] = {name, type, shape, bytes};
  }
}

const StoredTensor* RandomCheckpoint::find(std::string_view name) const {
  const auto entry = tensors_.find(name);
  return entry == tensors_.end() ? nullptr : &entry->second;
}

TensorTable RandomCheckpoint::table() const {
  TensorTable table;
  for (const auto& [name, tensor] : tensors_) table.emplace(name, &tensor);
  return table;
}

std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(config.vocab_size));
  }
  return tokens;
}

}  // namespace hashevict::engine
