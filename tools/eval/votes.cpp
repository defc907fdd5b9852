// SPDX-License-Identifier: Apache-2.0
#include "votes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

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

float take_share(const engine::Safetensors& file, const std::string& name) {
  const float share = take(file, name, {1}).front();
  if (std::isfinite(share) && share > 0.0F) return share;
  throw Error(Status::invalid_data,
              fmt::format("{}: {} is {}; expected a positive number", file.source(), name, share));
}

}  // namespace

Votes::Votes(const engine::Safetensors& file, const engine::ModelConfig& model)
    : num_kv_heads_(model.num_kv_heads), num_qo_heads_(model.num_qo_heads), head_dim_(model.head_dim) {
  const engine::StoredTensor& first = file.at("layers.0.projection");
  const int64_t bits = first.shape.size() == 3 ? first.shape[1] : 0;
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    const std::string prefix = fmt::format("layers.{}.", layer);
    layers_.push_back({take(file, prefix + "projection", {num_kv_heads_, bits, head_dim_}),
                       take(file, prefix + "center", {num_kv_heads_, head_dim_}), take_share(file, prefix + "share")});
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

void Votes::divide(Config& config, int64_t num_tokens) const {
  std::vector<size_t> order(layers_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Whoever may be cut off at num_tokens comes first.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return layers_[a].share > layers_[b].share; });
  int64_t slots = int64_t{config.capacity} * static_cast<int64_t>(layers_.size());
  double shares = 0.0;
  for (const Layer& layer : layers_) shares += static_cast<double>(layer.share);
  config.layer_capacities.assign(layers_.size(), 0);
  for (const size_t i : order) {
    const auto share = static_cast<double>(layers_[i].share);
    const auto part = static_cast<int64_t>(std::lround(static_cast<double>(slots) * share / shares));
    const int64_t capacity = std::clamp(part, std::min<int64_t>(1, slots), std::min(slots, num_tokens));
    config.layer_capacities[i] = static_cast<int32_t>(capacity);
    slots -= capacity;
    shares -= share;
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
