// SPDX-License-Identifier: Apache-2.0
#include "votes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/embedded_model.hpp"
#include "layer_file.hpp"

namespace hashevict::cli {
namespace {

constexpr std::array<std::string_view, 4> kParts = {"projection", "center", "share", "reach"};

std::vector<float> copy_of(const engine::StoredTensor& tensor) {
  const std::span<const float> values = tensor.f32();
  return {values.begin(), values.end()};
}

float take_positive(const LayerFile& file, const engine::StoredTensor& tensor) {
  file.require_shape(tensor, {1});
  const float value = tensor.f32().front();
  file.require(value > 0.0F, fmt::format("{} is {}; expected a positive number", tensor.name, value));  // no NaN
  return value;
}

float take_share(const LayerFile& file, const engine::StoredTensor& tensor) {
  const float share = take_positive(file, tensor);
  file.require(std::isfinite(share), fmt::format("{} is {}; expected a finite number", tensor.name, share));
  return share;
}

/// A layer during the division of slots.
struct Part {
  double share;
  int64_t limit;
  int64_t capacity = 0;

  int64_t room() const { return limit - capacity; }
};

/// Gives `slots` more to the parts, in proportion to their shares, up to their limits.
/// @return the number of slots left
int64_t pour(int64_t slots, std::vector<Part>& parts) {
  std::vector<Part*> order;
  double shares = 0.0;
  int64_t empty = 0;  // parts without a slot yet
  for (Part& part : parts) {
    order.push_back(&part);
    shares += part.share;
    empty += part.capacity == 0;
  }
  // The part that fills first comes first, so that the others divide the slots that it leaves.
  std::stable_sort(order.begin(), order.end(), [](const Part* a, const Part* b) {
    return static_cast<double>(a->room()) * b->share < static_cast<double>(b->room()) * a->share;
  });
  for (Part* part : order) {
    const auto due = static_cast<int64_t>(std::lround(static_cast<double>(slots) * part->share / shares));
    const int64_t least = part->capacity == 0 ? 1 : 0;
    empty -= least;
    const int64_t taken = std::min({std::max(due, least), part->room(), slots - empty});
    part->capacity += taken;
    slots -= taken;
    shares -= part->share;
  }
  return slots;
}

}  // namespace

Votes::Votes(const engine::Safetensors& source, const engine::ModelConfig& model)
    : num_kv_heads_(model.num_kv_heads), num_qo_heads_(model.num_qo_heads), head_dim_(model.head_dim) {
  const LayerFile file(source, kParts, LayerFile::Others::ignored);
  const engine::StoredTensor& first = file.at(0, "projection");
  const int64_t bits = first.shape.size() == 3 ? first.shape[1] : 0;
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    const engine::StoredTensor& projection = file.at(layer, "projection");
    file.require_learned(projection, {num_kv_heads_, bits, head_dim_});
    const engine::StoredTensor& center = file.at(layer, "center");
    file.require_learned(center, {num_kv_heads_, head_dim_});
    layers_.push_back({copy_of(projection), copy_of(center), take_share(file, file.at(layer, "share")),
                       take_positive(file, file.at(layer, "reach"))});
  }
  file.require(file.num_layers() == model.num_layers,
               fmt::format("holds more layers than the {} of the model", model.num_layers));
  hash_bits_ = static_cast<int32_t>(bits);
}

Votes Votes::embedded(const engine::ModelConfig& model) {
  return Votes(engine::embedded_votes(), model);
}

Votes Votes::load(const std::filesystem::path& path, const engine::ModelConfig& model) {
  return Votes(engine::Safetensors::open(path), model);
}

Tensor Votes::projection(int32_t layer) const {
  return {layers_.at(static_cast<size_t>(layer)).projection.data(), {num_kv_heads_, hash_bits_, head_dim_}};
}

Tensor Votes::center(int32_t layer) const {
  return {layers_.at(static_cast<size_t>(layer)).center.data(), {num_kv_heads_, head_dim_}};
}

void Votes::apply(Cache& cache) const {
  const std::vector<float> no_center(static_cast<size_t>(num_qo_heads_ * head_dim_));  // no query is hashed
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto layer = static_cast<int32_t>(i);
    cache.set_projection(layer, projection(layer));
    cache.set_center(layer, 0, center(layer), Tensor{no_center.data(), {num_qo_heads_, head_dim_}});
  }
}

void Votes::divide(Config& config, int64_t num_tokens) const {
  std::vector<Part> parts;
  for (const Layer& layer : layers_) {
    const double limit = std::min(static_cast<double>(layer.reach), static_cast<double>(num_tokens));
    parts.push_back({static_cast<double>(layer.share), std::max<int64_t>(1, static_cast<int64_t>(limit))});
  }
  const int64_t left = pour(int64_t{config.shape.capacity} * static_cast<int64_t>(parts.size()), parts);
  for (Part& part : parts) part.limit = std::max(part.limit, num_tokens);
  pour(left, parts);
  std::vector<int32_t> of_layers(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) of_layers[i] = static_cast<int32_t>(parts[i].capacity);
  config.shape.capacities = capacities_of_layers(of_layers, static_cast<int32_t>(num_kv_heads_));
}

void Votes::add_to(engine::SafetensorsWriter& writer) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = fmt::format("layers.{}.", i);
    writer.add(prefix + "projection", {num_kv_heads_, hash_bits_, head_dim_}, std::span(layers_[i].projection));
    writer.add(prefix + "center", {num_kv_heads_, head_dim_}, std::span(layers_[i].center));
  }
}

}  // namespace hashevict::cli
