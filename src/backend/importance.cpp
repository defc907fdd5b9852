// SPDX-License-Identifier: Apache-2.0
#include "backend/importance.hpp"

#include <cmath>
#include <vector>

#include "backend/checksum.hpp"
#include "backend/encoder.hpp"
#include "core/failure.hpp"

namespace hashevict {
namespace {

using core::fail;
using core::Layer;
using core::require;

core::TensorView validate_floats(const hashevict_tensor* tensor, const char* name, int64_t rows, int64_t columns) {
  require(tensor != nullptr && tensor->data != nullptr, "{} = NULL: expected a tensor", name);
  return core::validate_tensor(*tensor, {name, false, core::DType::float32, {rows, columns, core::kNoDim}, false});
}

float element(const core::TensorView& view, int64_t i, int64_t j) {
  return reinterpret_cast<const float*>(view.data)[i * view.stride[0] + j * view.stride[1]];
}

/// The weights of each head, then its bias, as they are stored. Fails for an element that is not finite.
std::vector<float> read_weights(const Layer& layer, const core::TensorView& weight, const core::TensorView& bias) {
  std::vector<float> stored;
  for (int32_t head = 0; head < layer.shape.num_kv_heads; ++head) {
    for (int32_t e = 0; e < layer.shape.head_dim; ++e) {
      stored.push_back(element(weight, head, e));
      require(std::isfinite(stored.back()), "weight[{}][{}] = {}: expected a finite number", head, e, stored.back());
    }
    stored.push_back(element(bias, head, 0));
    require(std::isfinite(stored.back()), "bias[{}] = {}: expected a finite number", head, stored.back());
  }
  return stored;
}

}  // namespace

void set_importance_weights(Backend& backend, int32_t layer, const hashevict_tensor* weight,
                            const hashevict_tensor* bias) {
  const core::Settings& settings = backend.storage().settings;
  core::validate_layer(settings, layer);
  const Layer& own = backend.storage().layer(layer);
  require(own.rule.facts.needs_importance, "set_importance_weights: {}.policy = {}: expected IMPORTANCE ({})",
          core::rule_name(settings, layer), own.rule.policy, static_cast<int>(HASHEVICT_POLICY_IMPORTANCE));
  require(own.rule.weighs_keys, "set_importance_weights: {}.importance_source = {}: expected KEY ({})",
          core::rule_name(settings, layer), static_cast<int>(HASHEVICT_IMPORTANCE_SOURCE_GIVEN),
          static_cast<int>(HASHEVICT_IMPORTANCE_SOURCE_KEY));
  const core::TensorView weights = validate_floats(weight, "weight", own.shape.num_kv_heads, own.shape.head_dim);
  const core::TensorView biases = validate_floats(bias, "bias", own.shape.num_kv_heads, core::kNoDim);
  const std::vector<float> stored = read_weights(own, weights, biases);
  if (!is_empty(backend, layer, core::kAll)) {
    fail(HASHEVICT_INVALID_STATE,
         "set_importance_weights: layer {} holds tokens: expected empty sequences (reset first)", layer);
  }
  backend.write(own.state.importance_weights, stored.data(), stored.size() * sizeof(float), nullptr);
  backend.note(Parameter::importance_weights, layer, parameter_checksum(stored));
}

void require_importance_weights(const Backend& backend, int32_t layer, const char* operation) {
  const core::Storage& storage = backend.storage();
  if (!storage.layer(layer).rule.weighs_keys || backend.has(Parameter::importance_weights, layer)) return;
  fail(
      HASHEVICT_INVALID_STATE,
      "{}: layer {} has no importance weights: expected them from set_importance_weights(), since {}.importance_source "
      "is KEY",
      operation, layer, core::rule_name(storage.settings, layer));
}

}  // namespace hashevict
