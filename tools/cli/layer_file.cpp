// SPDX-License-Identifier: Apache-2.0
#include "layer_file.hpp"

#include <algorithm>
#include <charconv>
#include <hashevict/status.hpp>
#include <optional>

#include "engine/json_object.hpp"

namespace hashevict::cli {
namespace {

using engine::ElementType;
using engine::StoredTensor;

constexpr std::string_view kPrefix = "layers.";

// Returns the 12 of `layers.12.q`, and nothing for any other spelling.
std::optional<int32_t> layer_number(std::string_view digits) {
  int32_t layer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  const bool canonical = digits.size() == 1 || (!digits.empty() && digits.front() != '0');
  if (error != std::errc{} || end != digits.data() + digits.size() || layer < 0 || !canonical) return std::nullopt;
  return layer;
}

std::string list_of(std::span<const std::string_view> parts) {
  std::string text = "layers.<i>";
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " or " : ", ";
    text.append(".").append(parts[i]);
  }
  return text;
}

std::string name_of(int32_t layer, std::string_view part) {
  return std::string(kPrefix) + std::to_string(layer) + "." + std::string(part);
}

}  // namespace

LayerFile::LayerFile(const engine::Safetensors& file, std::span<const std::string_view> parts, Others others)
    : source_(file.source()) {
  for (const auto& [name, tensor] : file.tensors()) {
    const bool in_layer = name.starts_with(kPrefix);
    if (!in_layer && others == Others::ignored) continue;
    const size_t dot = in_layer ? name.find('.', kPrefix.size()) : std::string::npos;
    std::optional<int32_t> layer;
    if (dot != std::string::npos) {
      layer = layer_number(std::string_view(name).substr(kPrefix.size(), dot - kPrefix.size()));
    }
    const auto part =
        layer ? std::find(parts.begin(), parts.end(), std::string_view(name).substr(dot + 1)) : parts.end();
    require(part != parts.end(), "unknown tensor " + engine::quote(name) + "; expected " + list_of(parts));
    layers_[*layer][*part] = &tensor;
  }
  int32_t expected = 0;
  for (const auto& [number, tensors] : layers_) {
    require(number == expected,
            "layer " + std::to_string(expected) + " is missing; the next is " + std::to_string(number));
    ++expected;
  }
}

const StoredTensor* LayerFile::find(int32_t layer, std::string_view part) const {
  const auto tensors = layers_.find(layer);
  if (tensors == layers_.end()) return nullptr;
  const auto tensor = tensors->second.find(part);
  return tensor == tensors->second.end() ? nullptr : tensor->second;
}

const StoredTensor& LayerFile::at(int32_t layer, std::string_view part) const {
  const StoredTensor* const tensor = find(layer, part);
  require(tensor != nullptr, name_of(layer, part) + " is missing");
  return *tensor;
}

void LayerFile::require(bool condition, const std::string& message) const {
  if (!condition) throw Error(Status::invalid_data, source_ + ": " + message);
}

void LayerFile::require_shape(const StoredTensor& tensor, const std::vector<int64_t>& expected) const {
  require(tensor.shape == expected,
          tensor.name + " has shape " + engine::show(tensor.shape) + "; expected " + engine::show(expected));
}

void LayerFile::require_finite(const StoredTensor& tensor) const {
  const std::string element = tensor.non_finite_element();
  require(element.empty(), tensor.name + ": " + element + "; expected finite numbers");
}

void LayerFile::require_learned(const StoredTensor& tensor) const {
  require(tensor.type == ElementType::f32, tensor.name + " is " + std::string(tensor.type_name()) + "; expected F32");
  require_finite(tensor);
}

void LayerFile::require_learned(const StoredTensor& tensor, const std::vector<int64_t>& expected) const {
  require_shape(tensor, expected);
  require_learned(tensor);
}

void LayerFile::require_projection(const StoredTensor& tensor, int64_t num_kv_heads, int64_t head_dim) const {
  const std::vector<int64_t>& shape = tensor.shape;
  const bool for_all = shape.size() == 2 && shape[0] > 0 && shape[1] == head_dim;
  const bool per_head = shape.size() == 3 && shape[0] == num_kv_heads && shape[1] > 0 && shape[2] == head_dim;
  const std::string dim = std::to_string(head_dim) + "]";
  require(for_all || per_head, tensor.name + " has shape " + engine::show(shape) + "; expected [hash_bits, " + dim +
                                   " or [" + std::to_string(num_kv_heads) + ", hash_bits, " + dim);
  require_learned(tensor);
}

void LayerFile::require_importance_weights(int32_t layer, int64_t num_kv_heads, int64_t head_dim) const {
  const StoredTensor* const weight = find(layer, "importance.weight");
  const StoredTensor* const bias = find(layer, "importance.bias");
  if (weight != nullptr) require_learned(*weight, {num_kv_heads, head_dim});
  if (bias != nullptr) require_learned(*bias, {num_kv_heads});
  require((weight == nullptr) == (bias == nullptr),
          name_of(layer, weight != nullptr ? "importance.weight" : "importance.bias") +
              " stands alone; expected importance.weight and importance.bias together");
}

}  // namespace hashevict::cli
