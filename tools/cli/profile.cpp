// SPDX-License-Identifier: Apache-2.0
#include "profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/embedded_model.hpp"
#include "layer_file.hpp"

namespace hashevict::cli {
namespace {

using engine::StoredTensor;

// The last two belong to the Python package: the engine hands the library keys, and no hidden states.
constexpr std::array<std::string_view, 7> kParts = {"quantiles",
                                                    "projection",
                                                    "center",
                                                    "importance.weight",
                                                    "importance.bias",
                                                    "importance.hidden_weight",
                                                    "importance.hidden_bias"};

std::vector<float> copy_of(const StoredTensor* tensor) {
  if (tensor == nullptr) return {};
  const std::span<const float> values = tensor->f32();
  return {values.begin(), values.end()};
}

void require_quantiles(const LayerFile& file, const StoredTensor& tensor, int64_t num_kv_heads) {
  const std::vector<int64_t>& shape = tensor.shape;
  file.require(shape.size() == 2 && shape[0] == num_kv_heads && shape[1] >= 2,
               fmt::format("{} has shape {}; expected [{}, Q] with 2 or more quantiles of each KV head", tensor.name,
                           engine::show(shape), num_kv_heads));
  file.require_learned(tensor);
  const std::span<const float> values = tensor.f32();
  const auto width = static_cast<size_t>(shape[1]);
  for (size_t i = 1; i < values.size(); ++i) {
    if (i % width == 0) continue;  // another head begins
    file.require(values[i - 1] <= values[i],
                 fmt::format("{}: element [{}, {}] is {}, below {} before it; expected ascending quantiles",
                             tensor.name, i / width, i % width, values[i], values[i - 1]));
  }
}

// Optional parts must be in all layers or in none, and projections of one shape.
void require_alike(const LayerFile& file, int32_t layer) {
  for (const std::string_view part : kParts) {
    const StoredTensor* const first = file.find(0, part);
    const StoredTensor* const tensor = file.find(layer, part);
    const auto name = [&](int32_t i) { return fmt::format("layers.{}.{}", i, part); };
    file.require(first == nullptr || tensor != nullptr,
                 fmt::format("{} is missing; expected it, since the file has {}", name(layer), name(0)));
    file.require(first != nullptr || tensor == nullptr,
                 fmt::format("{} is missing; expected it, since the file has {}", name(0), name(layer)));
    if (tensor != nullptr) file.require_shape(*tensor, first->shape);
  }
}

Tensor view(const std::vector<float>& values, std::initializer_list<int64_t> shape) {
  return values.empty() ? Tensor{} : Tensor{values.data(), shape};
}

int64_t slots_of(float fraction, int32_t tokens, int32_t capacity) {
  return fraction < 0.0F ? tokens : static_cast<int64_t>(fraction * static_cast<float>(capacity));
}

}  // namespace

int32_t least_capacity(const Rule& rule, int32_t most) {
  const auto suffices = [&](int32_t capacity) {
    return slots_of(rule.sink_fraction, rule.num_sink_tokens, capacity) +
               slots_of(rule.recent_fraction, rule.recent_window, capacity) <
           capacity;
  };
  for (int32_t capacity = 1; capacity < most; ++capacity) {
    if (suffices(capacity)) return capacity;
  }
  return most;
}

Profile::Profile(const engine::Safetensors& source, const engine::ModelConfig& model)
    : num_kv_heads_(model.num_kv_heads), num_qo_heads_(model.num_qo_heads), head_dim_(model.head_dim) {
  const LayerFile file(source, kParts, LayerFile::Others::refused);
  for (int32_t i = 0; i < model.num_layers; ++i) {
    const StoredTensor& quantiles = file.at(i, "quantiles");
    require_quantiles(file, quantiles, num_kv_heads_);
    file.require_importance_weights(i, num_kv_heads_, head_dim_);
    const StoredTensor* const projection = file.find(i, "projection");
    const StoredTensor* const center = file.find(i, "center");
    if (projection != nullptr) file.require_projection(*projection, num_kv_heads_, head_dim_);
    if (center != nullptr) file.require_learned(*center, {num_kv_heads_, head_dim_});
    file.require(center == nullptr || projection != nullptr,
                 fmt::format("layers.{0}.center stands alone; expected layers.{0}.projection with it", i));
    require_alike(file, i);
    layers_.push_back({copy_of(file.find(i, "importance.weight")), copy_of(file.find(i, "importance.bias")),
                       copy_of(projection), copy_of(center)});
    const std::span<const float> values = quantiles.f32();
    quantiles_.insert(quantiles_.end(), values.begin(), values.end());
    num_quantiles_ = quantiles.shape[1];
    if (projection == nullptr) continue;
    per_head_ = projection->shape.size() == 3;
    hash_bits_ = static_cast<int32_t>(projection->shape[per_head_ ? 1 : 0]);
    has_centers_ = center != nullptr;
  }
  file.require(file.num_layers() == model.num_layers,
               fmt::format("holds {} layers; expected {}, those of the model", file.num_layers(), model.num_layers));
}

Profile Profile::embedded(const engine::ModelConfig& model) {
  return Profile(engine::embedded_profile(), model);
}

Profile Profile::load(const std::filesystem::path& path, const engine::ModelConfig& model) {
  return Profile(engine::Safetensors::open(path), model);
}

bool Profile::teaches(const Config& config) const {
  return (config.rule.policy == Policy::importance && has_importance()) ||
         (config.rule.policy == Policy::votes && has_projection());
}

void Profile::configure(Config& config) const {
  if (!teaches(config)) return;
  if (config.rule.policy == Policy::importance) {
    config.rule.importance_source = ImportanceSource::key;
    config.rule.importance_slopes = 0;
    return;
  }
  if (config.rule.hash_bits != hash_bits_) {
    throw Error(Status::invalid_argument, fmt::format("--bits = {}: expected {}, as many as the profile's projections "
                                                      "have",
                                                      config.rule.hash_bits, hash_bits_));
  }
  if (has_centers_ != (config.rule.centering == Centering::fixed)) {
    throw Error(Status::invalid_argument,
                has_centers_
                    ? "--centering: expected 'fixed', since the profile's projections were learned with centers"
                    : "--centering 'fixed': expected another, since the profile brings no centers");
  }
  config.rule.projection_per_head = per_head_ ? 1 : 0;
}

void Profile::apply(Cache& cache) const {
  const std::vector<float> no_center(static_cast<size_t>(num_qo_heads_ * head_dim_));  // no query is hashed
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto layer = static_cast<int32_t>(i);
    if (cache.config().rule.policy == Policy::importance) {
      cache.set_importance_weights(layer, importance_weight(layer), importance_bias(layer));
      continue;
    }
    cache.set_projection(layer, projection(layer));
    if (has_centers_) cache.set_center(layer, 0, center(layer), Tensor{no_center.data(), {num_qo_heads_, head_dim_}});
  }
}

void Profile::add_to(engine::SafetensorsWriter& writer, const Config& config) const {
  if (!teaches(config)) return;
  const auto add = [&](int32_t i, const char* part, const Tensor& tensor, const std::vector<float>& values) {
    if (!tensor.present()) return;
    writer.add(fmt::format("layers.{}.{}", i, part), {tensor.shape, tensor.shape + tensor.rank}, std::span(values));
  };
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto number = static_cast<int32_t>(i);
    if (config.rule.policy == Policy::importance) {
      add(number, "importance.weight", importance_weight(number), layers_[i].importance_weight);
      add(number, "importance.bias", importance_bias(number), layers_[i].importance_bias);
    } else {
      add(number, "projection", projection(number), layers_[i].projection);
      add(number, "center", center(number), layers_[i].center);
    }
  }
}

void Profile::divide(Config& config, int64_t num_tokens, std::optional<int32_t> floor) const {
  const auto tokens = static_cast<int32_t>(std::min<int64_t>(num_tokens, INT32_MAX));
  const int32_t needed = least_capacity(config.rule, std::max(tokens, config.shape.capacity));
  const int32_t length = std::max(tokens, needed);
  const int32_t mean = std::min(config.shape.capacity, length);
  const int32_t least = std::clamp(floor.value_or(mean / 3), needed, length);
  if (mean < least) {
    throw Error(Status::invalid_argument,
                fmt::format("--budget: a mean of {} slots; expected at least {}, {}", mean, least,
                            least == needed ? "which the rule needs in every head" : "the --floor of every head"));
  }
  const auto num_layers = static_cast<int64_t>(layers_.size());
  config.shape.capacities = divide_slots(Tensor{quantiles_.data(), {num_layers, num_kv_heads_, num_quantiles_}},
                                         mean * num_layers * num_kv_heads_, length, least);
}

Tensor Profile::projection(int32_t index) const {
  const std::vector<float>& values = layer(index).projection;
  return per_head_ ? view(values, {num_kv_heads_, hash_bits_, head_dim_}) : view(values, {hash_bits_, head_dim_});
}

Tensor Profile::center(int32_t index) const {
  return view(layer(index).center, {num_kv_heads_, head_dim_});
}

Tensor Profile::importance_weight(int32_t index) const {
  return view(layer(index).importance_weight, {num_kv_heads_, head_dim_});
}

Tensor Profile::importance_bias(int32_t index) const {
  return view(layer(index).importance_bias, {num_kv_heads_});
}

}  // namespace hashevict::cli
