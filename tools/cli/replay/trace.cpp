// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <charconv>
#include <hashevict/status.hpp>
#include <map>
#include <optional>
#include <string>

#include "engine/json_object.hpp"

namespace hashevict::cli {
namespace {

using engine::ElementType;
using engine::StoredTensor;

// The tensors of one layer in the file; NULL if missing.
struct Parts {
  const StoredTensor* q = nullptr;
  const StoredTensor* k = nullptr;
  const StoredTensor* v = nullptr;
  const StoredTensor* projection = nullptr;
  const StoredTensor* center = nullptr;
  const StoredTensor* importance = nullptr;
  const StoredTensor* importance_slope = nullptr;
  const StoredTensor* importance_weight = nullptr;
  const StoredTensor* importance_bias = nullptr;
};

// All messages of this file begin with the file's name.
class Checker {
 public:
  explicit Checker(std::string source) : source_(std::move(source)) {}

  void require(bool condition, const std::string& message) const {
    if (!condition) throw Error(Status::invalid_data, source_ + ": " + message);
  }

 private:
  std::string source_;
};

const StoredTensor** part_of(Parts& parts, std::string_view what) {
  if (what == "q") return &parts.q;
  if (what == "k") return &parts.k;
  if (what == "v") return &parts.v;
  if (what == "projection") return &parts.projection;
  if (what == "center") return &parts.center;
  if (what == "importance") return &parts.importance;
  if (what == "importance_slope") return &parts.importance_slope;
  if (what == "importance.weight") return &parts.importance_weight;
  if (what == "importance.bias") return &parts.importance_bias;
  return nullptr;
}

// Returns the 12 of `layers.12.q`, and nothing for any other spelling.
std::optional<int32_t> layer_number(std::string_view digits) {
  int32_t layer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  const bool canonical = digits.size() == 1 || (!digits.empty() && digits.front() != '0');
  if (error != std::errc{} || end != digits.data() + digits.size() || layer < 0 || !canonical) return std::nullopt;
  return layer;
}

// Accepts other tensors outside `layers.`. Within it every name must be known: a misspelled optional tensor would be
// ignored unnoticed.
std::map<int32_t, Parts> sort_by_layer(const engine::Safetensors& file, const Checker& check) {
  constexpr std::string_view kPrefix = "layers.";
  std::map<int32_t, Parts> layers;
  for (const auto& [name, tensor] : file.tensors()) {
    if (!name.starts_with(kPrefix)) continue;
    const size_t dot = name.find('.', kPrefix.size());
    std::optional<int32_t> layer;
    if (dot != std::string::npos) {
      layer = layer_number(std::string_view(name).substr(kPrefix.size(), dot - kPrefix.size()));
    }
    const StoredTensor** part = layer ? part_of(layers[*layer], std::string_view(name).substr(dot + 1)) : nullptr;
    check.require(part != nullptr, "unknown tensor " + engine::quote(name) +
                                       "; expected layers.<i>.q, .k, .v, .projection, .center, "
                                       ".importance, .importance_slope, .importance.weight or .importance.bias");
    *part = &tensor;
  }
  return layers;
}

void check_finite(const StoredTensor& tensor, const Checker& check) {
  const std::string element = tensor.non_finite_element();
  check.require(element.empty(), tensor.name + ": " + element + "; expected finite numbers");
}

void check_values(const StoredTensor& tensor, ElementType type, const Checker& check) {
  check.require(tensor.type == ElementType::f32 || tensor.type == ElementType::f16 || tensor.type == ElementType::bf16,
                tensor.name + " is " + std::string(element_name(tensor.type)) + "; expected F32, F16 or BF16");
  check.require(tensor.type == type, tensor.name + " is " + std::string(element_name(tensor.type)) +
                                         " where the trace began with " + std::string(element_name(type)) +
                                         "; expected one type throughout");
  check_finite(tensor, check);
}

void check_shape(const StoredTensor& tensor, const std::vector<int64_t>& expected, const Checker& check) {
  check.require(tensor.shape == expected,
                tensor.name + " has shape " + engine::show(tensor.shape) + "; expected " + engine::show(expected));
}

// Every layer has the shapes of the first layer's queries and keys.
struct Shapes {
  std::vector<int64_t> q, k;
  ElementType type;

  Shapes(const StoredTensor& first_q, const StoredTensor& first_k, const Checker& check)
      : q(first_q.shape), k(first_k.shape), type(first_q.type) {
    for (const StoredTensor* tensor : {&first_q, &first_k}) {
      const bool positive = tensor->shape.size() == 3 && tensor->num_elements() > 0;
      check.require(positive, tensor->name + " has shape " + engine::show(tensor->shape) +
                                  "; expected [tokens, heads, head_dim], none of them zero");
      for (const int64_t extent : tensor->shape) check.require(extent <= INT32_MAX, tensor->name + " is too large");
    }
    check.require(q[0] == k[0] && q[2] == k[2], first_k.name + " has shape " + engine::show(k) + " beside queries " +
                                                    engine::show(q) + "; expected the same tokens and head_dim");
    check.require(q[1] % k[1] == 0, first_q.name + " has " + std::to_string(q[1]) + " heads; expected a multiple of " +
                                        std::to_string(k[1]) + ", the key heads");
  }
};

void check_learned(const StoredTensor& tensor, const Checker& check) {
  check.require(tensor.type == ElementType::f32,
                tensor.name + " is " + std::string(element_name(tensor.type)) + "; expected F32");
  check_finite(tensor, check);
}

void check_projection(const StoredTensor& projection, const Shapes& shapes, const Checker& check) {
  const std::vector<int64_t>& shape = projection.shape;
  const bool for_all = shape.size() == 2 && shape[0] > 0 && shape[1] == shapes.q[2];
  const bool per_head = shape.size() == 3 && shape[0] == shapes.k[1] && shape[1] > 0 && shape[2] == shapes.q[2];
  const std::string dim = std::to_string(shapes.q[2]) + "]";
  check.require(for_all || per_head, projection.name + " has shape " + engine::show(shape) + "; expected [hash_bits, " +
                                         dim + " or [" + std::to_string(shapes.k[1]) + ", hash_bits, " + dim);
  check_learned(projection, check);
}

// Tensors of importances that are there, all of them checked.
void add_importance(const Parts& parts, const Shapes& shapes, TraceLayer& layer, const Checker& check) {
  const auto add = [&](const StoredTensor* tensor, const std::vector<int64_t>& shape, Tensor& target) {
    if (tensor == nullptr) return;
    check_shape(*tensor, shape, check);
    check_learned(*tensor, check);
    target = tensor->as_tensor();
  };
  add(parts.importance, {shapes.k[0], shapes.k[1]}, layer.importance);
  add(parts.importance_slope, {shapes.k[0], shapes.k[1]}, layer.importance_slope);
  add(parts.importance_weight, {shapes.k[1], shapes.k[2]}, layer.importance_weight);
  add(parts.importance_bias, {shapes.k[1]}, layer.importance_bias);
  const StoredTensor* const weight = parts.importance_weight;
  const StoredTensor* const bias = parts.importance_bias;
  check.require((weight == nullptr) == (bias == nullptr),
                (weight != nullptr ? weight
                 : bias != nullptr ? bias
                                   : parts.q)
                        ->name +
                    " stands alone; expected importance.weight and importance.bias together");
  check.require(weight == nullptr || parts.importance == nullptr,
                (weight != nullptr ? weight : parts.q)->name + " beside importance; expected one of the two");
}

TraceLayer make_layer(const Parts& parts, const Shapes& shapes, Learned learned, const Checker& check) {
  check_shape(*parts.q, shapes.q, check);
  check_shape(*parts.k, shapes.k, check);
  check_shape(*parts.v, shapes.k, check);
  for (const StoredTensor* tensor : {parts.q, parts.k, parts.v}) check_values(*tensor, shapes.type, check);
  TraceLayer layer{parts.q->as_tensor(), parts.k->as_tensor(), parts.v->as_tensor(), {}, {}, {}, {}, {}, {}};
  add_importance(parts, shapes, layer, check);
  if (learned == Learned::passed_over) return layer;
  if (parts.projection != nullptr) {
    check_projection(*parts.projection, shapes, check);
    layer.projection = parts.projection->as_tensor();
  }
  if (parts.center != nullptr) {
    check_shape(*parts.center, {shapes.k[1], shapes.k[2]}, check);
    check_learned(*parts.center, check);
    layer.center = parts.center->as_tensor();
  }
  return layer;
}

}  // namespace

Trace Trace::open(const std::filesystem::path& path, Learned learned) {
  Trace trace(engine::Safetensors::open(path));
  const Checker check(trace.file_.source());
  const std::map<int32_t, Parts> layers = sort_by_layer(trace.file_, check);
  check.require(!layers.empty(), "holds no tensor of a layer; expected layers.0.q, layers.0.k and layers.0.v at least");
  int32_t expected = 0;
  for (const auto& [number, parts] : layers) {
    check.require(number == expected,
                  "layer " + std::to_string(expected) + " is missing; the next is " + std::to_string(number));
    const std::string prefix = "layers." + std::to_string(number);
    check.require(parts.q != nullptr, prefix + ".q is missing");
    check.require(parts.k != nullptr, prefix + ".k is missing");
    check.require(parts.v != nullptr, prefix + ".v is missing");
    ++expected;
  }
  const Parts& first = layers.begin()->second;
  const Shapes shapes(*first.q, *first.k, check);
  for (const auto& [number, parts] : layers) trace.layers_.push_back(make_layer(parts, shapes, learned, check));
  return trace;
}

void Trace::set_learned(int32_t layer, const Tensor& projection, const Tensor& center) {
  layers_.at(static_cast<size_t>(layer)).projection = projection;
  layers_.at(static_cast<size_t>(layer)).center = center;
}

}  // namespace hashevict::cli
