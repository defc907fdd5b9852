// SPDX-License-Identifier: Apache-2.0
#include "votes.hpp"

#include <fmt/format.h>

#include "engine/embedded_model.hpp"

namespace hashevict::eval {
namespace {

std::vector<float> take(const engine::Safetensors& file, const std::string& name,
                        const std::vector<int64_t>& expected) {
  const engine::StoredTensor& tensor = file.at(name);
  if (tensor.shape != expected) {
    throw Error(Status::invalid_data,
                fmt::format("{}: {} has the shape [{}], but the model asks for [{}]", file.source(), name,
                            fmt::join(tensor.shape, ", "), fmt::join(expected, ", ")));
  }
  const std::span<const float> values = tensor.f32();
  return {values.begin(), values.end()};
}

}  // namespace

Votes::Votes(const engine::Safetensors& file, const engine::ModelConfig& model)
    : num_kv_heads_(model.num_kv_heads), num_qo_heads_(model.num_qo_heads), head_dim_(model.head_dim) {
  const engine::StoredTensor& first = file.at("layers.0.projection");
  const int64_t bits = first.shape.size() == 3 ? first.shape[1] : 0;
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    const std::string prefix = fmt::format("layers.{}.", layer);
    layers_.push_back({take(file, prefix + "projection", {num_kv_heads_, bits, head_dim_}),
                       take(file, prefix + "center", {num_kv_heads_, head_dim_})});
  }
  hash_bits_ = static_cast<int32_t>(bits);
}

Votes Votes::embedded(const engine::ModelConfig& model) {
  return Votes(engine::embedded_votes(), model);
}

Votes Votes::load(const std::filesystem::path& path, const engine::ModelConfig& model) {
  return Votes(engine::Safetensors::open(path), model);
}

void Votes::apply(Cache& cache) const {
  const std::vector<float> no_center(static_cast<size_t>(num_qo_heads_ * head_dim_));  // no query is hashed
  const int32_t num_sequences = cache.config().num_sequences;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto layer = static_cast<int32_t>(i);
    cache.set_projection(layer, Tensor{layers_[i].projection.data(), {num_kv_heads_, hash_bits_, head_dim_}});
    for (int32_t sequence = 0; sequence < num_sequences; ++sequence) {
      cache.set_center(layer, sequence, Tensor{layers_[i].center.data(), {num_kv_heads_, head_dim_}},
                       Tensor{no_center.data(), {num_qo_heads_, head_dim_}});
    }
  }
}

void Votes::add_to(engine::SafetensorsWriter& writer) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = fmt::format("layers.{}.", i);
    writer.add(prefix + "projection", {num_kv_heads_, hash_bits_, head_dim_}, std::span(layers_[i].projection));
    writer.add(prefix + "center", {num_kv_heads_, head_dim_}, std::span(layers_[i].center));
  }
}

}  // namespace hashevict::eval
