// SPDX-License-Identifier: Apache-2.0
#include "backend/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/checksum.hpp"
#include "core/failure.hpp"

namespace hashevict {
namespace {

using core::fail;
using core::Layer;
using core::require;
using core::Storage;
using core::TensorSpec;
using core::TensorView;

/// Checks a projection tensor. Its leading dimension is absent if one projection serves all heads.
TensorView validate_projection(const hashevict_tensor* tensor, const Layer& layer, bool written) {
  require(tensor != nullptr && tensor->data != nullptr, "projection = NULL: expected a tensor");
  TensorSpec spec{"projection", false, core::DType::float32, {}, written};
  if (layer.rule.projection_per_head) {
    spec.shape = {layer.shape.num_kv_heads, layer.rule.hash_bits, layer.shape.head_dim};
  } else {
    spec.shape = {layer.rule.hash_bits, layer.shape.head_dim, core::kNoDim};
  }
  return core::validate_tensor(*tensor, spec);
}

/// Address of entry [projection, bit, element] of a tensor that validate_projection() passed.
float* projection_entry(const TensorView& view, bool per_head, int32_t projection, int32_t bit, int32_t element) {
  auto* const data = reinterpret_cast<float*>(view.data);
  if (per_head) return data + projection * view.stride[0] + bit * view.stride[1] + element * view.stride[2];
  return data + bit * view.stride[0] + element * view.stride[1];
}

/// Calls `visit(tensor_entry, transposed_index, projection, bit, element)` for every entry of a projection.
template <class Visit>
void visit_projection(const TensorView& view, const Layer& layer, const Visit& visit) {
  const int32_t bits = layer.rule.hash_bits;
  const int32_t dim = layer.shape.head_dim;
  for (int32_t p = 0; p < layer.rule.num_projections; ++p) {
    for (int32_t bit = 0; bit < bits; ++bit) {
      for (int32_t e = 0; e < dim; ++e) {
        const auto index = (static_cast<std::size_t>(p) * static_cast<std::size_t>(dim) + static_cast<std::size_t>(e)) *
                               static_cast<std::size_t>(bits) +
                           static_cast<std::size_t>(bit);
        float* const entry = projection_entry(view, layer.rule.projection_per_head, p, bit, e);
        visit(entry, index, p, bit, e);
      }
    }
  }
}

std::size_t projection_floats(const Layer& layer) {
  return static_cast<std::size_t>(layer.rule.num_projections) * static_cast<std::size_t>(layer.shape.head_dim) *
         static_cast<std::size_t>(layer.rule.hash_bits);
}

/// Reads a centre's elements into a dense array.
std::vector<float> read_center(const Layer& layer, const hashevict_tensor* tensor, const char* name, int32_t heads) {
  require(tensor != nullptr && tensor->data != nullptr, "{} = NULL: expected a tensor", name);
  const int32_t dim = layer.shape.head_dim;
  const TensorView view =
      core::validate_tensor(*tensor, {name, false, core::DType::float32, {heads, dim, core::kNoDim}, false});
  std::vector<float> dense;
  dense.reserve(static_cast<std::size_t>(heads) * static_cast<std::size_t>(dim));
  for (int32_t head = 0; head < heads; ++head) {
    for (int32_t e = 0; e < dim; ++e) {
      const float value = *(reinterpret_cast<const float*>(view.at(head, 0)) + e * view.stride[1]);
      require(std::isfinite(value), "{}[{}][{}] = {}: expected a finite number", name, head, e, value);
      dense.push_back(value);
    }
  }
  return dense;
}

void write_floats(Backend& backend, const std::vector<float>& values, float* target) {
  backend.write(target, values.data(), values.size() * sizeof(float), nullptr);
}

/// Fails for an entry that is not finite; the message gives its index.
void check_entry(const Layer& layer, int32_t projection, int32_t bit, int32_t element, float value) {
  if (std::isfinite(value)) return;
  if (layer.rule.projection_per_head) {
    fail(HASHEVICT_INVALID_ARGUMENT, "projection[{}][{}][{}] = {}: expected a finite number", projection, bit, element,
         value);
  }
  fail(HASHEVICT_INVALID_ARGUMENT, "projection[{}][{}] = {}: expected a finite number", bit, element, value);
}

}  // namespace

bool is_empty(Backend& backend, int32_t layer, int32_t sequence) {
  const Storage& storage = backend.storage();
  const auto heads = static_cast<std::size_t>(storage.settings.shape.num_kv_heads);
  std::vector<int32_t> seen(static_cast<std::size_t>(storage.settings.shape.num_sequences) * heads);
  backend.read(seen.data(), storage.layer(layer).state.tokens_seen, seen.size() * sizeof(int32_t), nullptr);
  if (sequence >= 0) return seen[static_cast<std::size_t>(sequence) * heads] == 0;
  return std::all_of(seen.begin(), seen.end(), [](int32_t tokens) { return tokens == 0; });
}

void set_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection) {
  core::validate_layer(backend.storage().settings, layer);
  const Layer& own = backend.storage().layer(layer);
  const TensorView view = validate_projection(projection, own, false);
  std::vector<float> transposed(projection_floats(own));
  visit_projection(view, own, [&](const float* entry, std::size_t index, int32_t p, int32_t bit, int32_t element) {
    check_entry(own, p, bit, element, *entry);
    transposed[index] = *entry;
  });
  if (!is_empty(backend, layer, -1)) {
    fail(HASHEVICT_INVALID_STATE, "set_projection: layer {} holds tokens: expected empty sequences (reset first)",
         layer);
  }
  write_floats(backend, transposed, own.state.projection);
  backend.note(Parameter::projection, layer, parameter_checksum(transposed));
}

void require_projection(const Backend& backend, int32_t layer, const char* operation) {
  if (backend.has(Parameter::projection, layer)) return;
  fail(HASHEVICT_INVALID_STATE,
       "{}: layer {} has no projection: expected one from set_projection(), since {}.projection_kind is LEARNED",
       operation, layer, core::rule_name(backend.storage().settings, layer));
}

void get_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection) {
  core::validate_layer(backend.storage().settings, layer);
  const Layer& own = backend.storage().layer(layer);
  const TensorView view = validate_projection(projection, own, true);
  core::validate_aliasing(backend.storage().own, {{core::footprint_of("projection", *projection)}}, {}, false);
  std::vector<float> transposed(projection_floats(own));
  backend.read(transposed.data(), own.state.projection, transposed.size() * sizeof(float), nullptr);
  visit_projection(view, own,
                   [&](float* entry, std::size_t index, int32_t /*projection*/, int32_t /*bit*/, int32_t /*element*/) {
                     *entry = transposed[index];
                   });
}

void set_center(Backend& backend, int32_t layer, int32_t sequence, const hashevict_tensor* key_center,
                const hashevict_tensor* query_center) {
  core::validate_layer(backend.storage().settings, layer);
  core::validate_sequence(backend.storage().settings, sequence, "sequence");
  const Layer& own = backend.storage().layer(layer);
  require(own.rule.centered(), "set_center: {}.centering = {}: expected PROMPT (1) or FIXED (2)",
          core::rule_name(backend.storage().settings, layer), own.rule.centering);
  const std::vector<float> key = read_center(own, key_center, "key_center", own.shape.num_kv_heads);
  const std::vector<float> query = read_center(own, query_center, "query_center", own.shape.num_qo_heads);
  if (!is_empty(backend, layer, sequence)) {
    fail(HASHEVICT_INVALID_STATE, "set_center: sequence {} holds tokens in layer {}: expected an empty one", sequence,
         layer);
  }
  const auto center_of = [&](core::StatePartIndex part) {
    return reinterpret_cast<float*>(backend.storage().part(layer, part).of(sequence));
  };
  write_floats(backend, key, center_of(core::StatePartIndex::key_centers));
  write_floats(backend, query, center_of(core::StatePartIndex::query_centers));
  const int32_t given = core::kCenterGiven;
  backend.write(own.state.center_set + sequence, &given, sizeof given, nullptr);
}

}  // namespace hashevict
