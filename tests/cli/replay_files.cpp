// SPDX-License-Identifier: Apache-2.0
#include "replay_files.hpp"

#include "support/element.hpp"

namespace hashevict::test {
namespace {

engine::ElementType element_type(DType dtype) {
  if (dtype == DType::float16) return engine::ElementType::f16;
  if (dtype == DType::bfloat16) return engine::ElementType::bf16;
  return engine::ElementType::f32;
}

}  // namespace

Config trace_config() {
  Config config;
  config.shape.num_layers = 2;
  config.shape.num_qo_heads = 4;
  config.shape.num_kv_heads = 2;
  config.shape.head_dim = 16;
  config.shape.dtype = DType::float32;
  return config;
}

std::vector<TraceData> draw_trace(const Config& config, std::size_t num_tokens, uint32_t seed, DType dtype,
                                  Flavour flavour) {
  Inputs inputs(seed);
  std::vector<TraceData> layers;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    layers.push_back({inputs.draw(config, num_tokens, dtype, flavour), {}, {}, {}, {}});
  }
  return layers;
}

std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) store(dtype, values[i], bytes.data() + i * size_of(dtype));
  return bytes;
}

void write_trace(const std::string& path, const Config& config, const std::vector<TraceData>& layers, DType dtype) {
  engine::SafetensorsWriter writer;
  std::vector<std::vector<std::byte>> kept;  // until the file is written
  kept.reserve(3 * layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const Tokens& tokens = layers[i].tokens;
    const auto count = static_cast<int64_t>(tokens.count);
    const auto add = [&](const char* name, const std::vector<float>& values, int64_t heads) {
      kept.push_back(encoded(values, dtype));
      writer.add(prefix + name, element_type(dtype), {count, heads, config.shape.head_dim}, kept.back());
    };
    add("q", tokens.q, config.shape.num_qo_heads);
    add("k", tokens.k, config.shape.num_kv_heads);
    add("v", tokens.v, config.shape.num_kv_heads);
    const int64_t heads = config.shape.num_kv_heads;
    const bool by_importance = config.rule.policy == Policy::importance;
    if (by_importance && config.rule.importance_source == ImportanceSource::given) {
      writer.add(prefix + "importance", {count, heads}, std::span(tokens.importance));
    }
    if (by_importance && config.rule.importance_slopes != 0) {
      writer.add(prefix + "importance_slope", {count, heads}, std::span(tokens.importance_slope));
    }
    if (!layers[i].importance_weight.empty()) {
      writer.add(prefix + "importance.weight", {heads, config.shape.head_dim}, std::span(layers[i].importance_weight));
      writer.add(prefix + "importance.bias", {heads}, std::span(layers[i].importance_bias));
    }
    if (!layers[i].center.empty()) {
      writer.add(prefix + "center", {config.shape.num_kv_heads, config.shape.head_dim}, std::span(layers[i].center));
    }
    if (layers[i].projection.empty()) continue;
    const auto rows = static_cast<int64_t>(layers[i].projection.size()) / config.shape.head_dim;
    std::vector<int64_t> shape{rows, config.shape.head_dim};
    if (config.rule.projection_per_head)
      shape = {config.shape.num_kv_heads, rows / config.shape.num_kv_heads, config.shape.head_dim};
    writer.add(prefix + "projection", shape, std::span(layers[i].projection));
  }
  writer.write(path);
}

}  // namespace hashevict::test
