// SPDX-License-Identifier: Apache-2.0
#include "trace.hpp"

#include <array>
#include <hashevict/status.hpp>
#include <string>

#include "cli/layer_file.hpp"

namespace hashevict::cli {
namespace {

using engine::ElementType;
using engine::StoredTensor;

constexpr std::array<std::string_view, 9> kParts = {
    "q", "k", "v", "projection", "center", "importance", "importance_slope", "importance.weight", "importance.bias"};

void check_values(const StoredTensor& tensor, ElementType type, const LayerFile& file) {
  file.require(tensor.is_floating(),
               tensor.name + " is " + std::string(tensor.type_name()) + "; expected F32, F16 or BF16");
  file.require(tensor.type == type, tensor.name + " is " + std::string(element_name(tensor.type)) +
                                        " where the trace began with " + std::string(element_name(type)) +
                                        "; expected one type throughout");
  file.require_finite(tensor);
}

// Every layer has the shapes of the first layer's queries and keys.
struct Shapes {
  std::vector<int64_t> q, k;
  ElementType type;

  explicit Shapes(const LayerFile& file)
      : q(file.at(0, "q").shape), k(file.at(0, "k").shape), type(file.at(0, "q").type) {
    const StoredTensor& first_q = file.at(0, "q");
    const StoredTensor& first_k = file.at(0, "k");
    for (const StoredTensor* tensor : {&first_q, &first_k}) {
      const bool positive = tensor->shape.size() == 3 && tensor->num_elements() > 0;
      file.require(positive, tensor->name + " has shape " + engine::show(tensor->shape) +
                                 "; expected [tokens, heads, head_dim], none of them zero");
      for (const int64_t extent : tensor->shape) file.require(extent <= INT32_MAX, tensor->name + " is too large");
    }
    file.require(q[0] == k[0] && q[2] == k[2], first_k.name + " has shape " + engine::show(k) + " beside queries " +
                                                   engine::show(q) + "; expected the same tokens and head_dim");
    file.require(q[1] % k[1] == 0, first_q.name + " has " + std::to_string(q[1]) + " heads; expected a multiple of " +
                                       std::to_string(k[1]) + ", the key heads");
  }
};

// Takes the tensors of importances that are there, all of them checked.
void take_importance(const LayerFile& file, int32_t number, const Shapes& shapes, TraceLayer& layer) {
  const auto take = [&](std::string_view part, Tensor& target) {
    const StoredTensor* const tensor = file.find(number, part);
    if (tensor != nullptr) target = tensor->as_tensor();
    return tensor;
  };
  for (const std::string_view part : {"importance", "importance_slope"}) {
    const StoredTensor* const tensor = file.find(number, part);
    if (tensor != nullptr) file.require_learned(*tensor, {shapes.k[0], shapes.k[1]});
  }
  file.require_importance_weights(number, shapes.k[1], shapes.k[2]);
  const StoredTensor* const given = take("importance", layer.importance);
  const StoredTensor* const weight = take("importance.weight", layer.importance_weight);
  file.require(given == nullptr || weight == nullptr,
               "layers." + std::to_string(number) + ".importance.weight beside importance; expected one of the two");
  take("importance_slope", layer.importance_slope);
  take("importance.bias", layer.importance_bias);
}

TraceLayer make_layer(const LayerFile& file, int32_t number, const Shapes& shapes, Learned learned) {
  const StoredTensor& q = file.at(number, "q");
  const StoredTensor& k = file.at(number, "k");
  const StoredTensor& v = file.at(number, "v");
  file.require_shape(q, shapes.q);
  file.require_shape(k, shapes.k);
  file.require_shape(v, shapes.k);
  for (const StoredTensor* tensor : {&q, &k, &v}) check_values(*tensor, shapes.type, file);
  TraceLayer layer{q.as_tensor(), k.as_tensor(), v.as_tensor(), {}, {}, {}, {}, {}, {}};
  take_importance(file, number, shapes, layer);
  if (learned == Learned::passed_over) return layer;
  if (const StoredTensor* const projection = file.find(number, "projection"); projection != nullptr) {
    file.require_projection(*projection, shapes.k[1], shapes.k[2]);
    layer.projection = projection->as_tensor();
  }
  if (const StoredTensor* const center = file.find(number, "center"); center != nullptr) {
    file.require_learned(*center, {shapes.k[1], shapes.k[2]});
    layer.center = center->as_tensor();
  }
  return layer;
}

}  // namespace

Trace Trace::open(const std::filesystem::path& path, Learned learned) {
  Trace trace(engine::Safetensors::open(path));
  const LayerFile file(trace.file_, kParts, LayerFile::Others::ignored);
  file.require(file.num_layers() > 0,
               "holds no tensor of a layer; expected layers.0.q, layers.0.k and layers.0.v at least");
  for (int32_t i = 0; i < file.num_layers(); ++i) {
    for (const std::string_view part : {"q", "k", "v"}) static_cast<void>(file.at(i, part));
  }
  const Shapes shapes(file);
  for (int32_t i = 0; i < file.num_layers(); ++i) trace.layers_.push_back(make_layer(file, i, shapes, learned));
  return trace;
}

void Trace::set_learned(int32_t layer, const Tensor& projection, const Tensor& center) {
  layers_.at(static_cast<size_t>(layer)).projection = projection;
  layers_.at(static_cast<size_t>(layer)).center = center;
}

void Trace::set_importance_weights(int32_t layer, const Tensor& weight, const Tensor& bias) {
  TraceLayer& data = layers_.at(static_cast<size_t>(layer));
  data.importance = data.importance_slope = Tensor{};
  data.importance_weight = weight;
  data.importance_bias = bias;
}

}  // namespace hashevict::cli
