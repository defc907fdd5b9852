// SPDX-License-Identifier: Apache-2.0
#include "backend/parameters.hpp"

#include <algorithm>
#include <vector>

#include "core/failure.hpp"

namespace hashevict {
namespace {

using core::fail;
using core::LayerState;
using core::require;
using core::Settings;
using core::Storage;
using core::TensorSpec;
using core::TensorView;

/// Whether no sequence (or not `sequence`) holds tokens in a layer. Waits for the device.
bool is_empty(Backend& backend, int32_t layer, int32_t sequence) {
  const Storage& storage = backend.storage();
  std::vector<int32_t> seen(static_cast<std::size_t>(storage.settings.sequences()));
  backend.read(seen.data(), storage.layer_state(layer).tokens_seen, seen.size() * sizeof(int32_t), nullptr);
  if (sequence >= 0) return seen[static_cast<std::size_t>(sequence)] == 0;
  return std::all_of(seen.begin(), seen.end(), [](int32_t tokens) { return tokens == 0; });
}

/// Checks a projection tensor; its leading dimension is absent where one projection serves all heads.
TensorView validate_projection(const hashevict_tensor* tensor, const Settings& settings, bool written) {
  require(tensor != nullptr && tensor->data != nullptr, "projection = NULL: expected a tensor");
  const hashevict_config& c = settings.config;
  TensorSpec spec{"projection", false, core::DType::float32, {}, written};
  if (c.projection_per_head != 0) {
    spec.shape = {c.num_kv_heads, c.hash_bits, c.head_dim};
  } else {
    spec.shape = {c.hash_bits, c.head_dim, core::kNoDim};
  }
  return core::validate_tensor(*tensor, spec);
}

/// Address of entry [projection, bit, element] of a tensor that validate_projection() passed.
float* projection_entry(const TensorView& view, bool per_head, int32_t projection, int32_t bit, int32_t element) {
  auto* const data = reinterpret_cast<float*>(view.data);
  if (per_head) return data + projection * view.stride[0] + bit * view.stride[1] + element * view.stride[2];
  return data + bit * view.stride[0] + element * view.stride[1];
}

/// Calls `visit(tensor_entry, transposed_index)` for every entry of a projection.
template <class Visit>
void visit_projection(const TensorView& view, const Settings& settings, const Visit& visit) {
  const hashevict_config& c = settings.config;
  for (int32_t p = 0; p < settings.num_projections; ++p) {
    for (int32_t bit = 0; bit < c.hash_bits; ++bit) {
      for (int32_t e = 0; e < c.head_dim; ++e) {
        const auto index =
            (static_cast<std::size_t>(p) * static_cast<std::size_t>(c.head_dim) + static_cast<std::size_t>(e)) *
                static_cast<std::size_t>(c.hash_bits) +
            static_cast<std::size_t>(bit);
        visit(projection_entry(view, c.projection_per_head != 0, p, bit, e), index);
      }
    }
  }
}

std::size_t projection_floats(const Settings& settings) {
  return static_cast<std::size_t>(settings.num_projections) * static_cast<std::size_t>(settings.config.head_dim) *
         static_cast<std::size_t>(settings.config.hash_bits);
}

void write_center(Backend& backend, const hashevict_tensor* tensor, const char* name, int32_t heads, float* target) {
  require(tensor != nullptr && tensor->data != nullptr, "{} = NULL: expected a tensor", name);
  const int32_t dim = backend.storage().settings.config.head_dim;
  const TensorView view =
      core::validate_tensor(*tensor, {name, false, core::DType::float32, {heads, dim, core::kNoDim}, false});
  if (target == nullptr) return;
  std::vector<float> dense;
  dense.reserve(static_cast<std::size_t>(heads) * static_cast<std::size_t>(dim));
  for (int32_t head = 0; head < heads; ++head) {
    for (int32_t e = 0; e < dim; ++e) dense.push_back(*reinterpret_cast<const float*>(view.at(head, e)));
  }
  backend.write(target, dense.data(), dense.size() * sizeof(float), nullptr);
}

}  // namespace

void set_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection) {
  const Settings& settings = backend.storage().settings;
  core::validate_layer(settings, layer);
  const TensorView view = validate_projection(projection, settings, false);
  if (!is_empty(backend, layer, -1)) {
    fail(HASHEVICT_INVALID_STATE, "set_projection: layer {} holds tokens: expected empty sequences (reset first)",
         layer);
  }
  std::vector<float> transposed(projection_floats(settings));
  visit_projection(view, settings, [&](const float* entry, std::size_t index) { transposed[index] = *entry; });
  backend.write(backend.storage().layer_state(layer).projection, transposed.data(), transposed.size() * sizeof(float),
                nullptr);
}

void get_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection) {
  const Settings& settings = backend.storage().settings;
  core::validate_layer(settings, layer);
  const TensorView view = validate_projection(projection, settings, true);
  std::vector<float> transposed(projection_floats(settings));
  backend.read(transposed.data(), backend.storage().layer_state(layer).projection, transposed.size() * sizeof(float),
               nullptr);
  visit_projection(view, settings, [&](float* entry, std::size_t index) { *entry = transposed[index]; });
}

void set_center(Backend& backend, int32_t layer, int32_t sequence, const hashevict_tensor* key_center,
                const hashevict_tensor* query_center) {
  const Settings& settings = backend.storage().settings;
  const hashevict_config& c = settings.config;
  core::validate_layer(settings, layer);
  core::validate_sequence(settings, sequence, "sequence");
  require(settings.centered(), "set_center: config.centering = {}: expected PROMPT (1) or FIXED (2)", c.centering);
  write_center(backend, key_center, "key_center", c.num_kv_heads, nullptr);  // checks both before writing either
  write_center(backend, query_center, "query_center", c.num_qo_heads, nullptr);
  if (!is_empty(backend, layer, sequence)) {
    fail(HASHEVICT_INVALID_STATE, "set_center: sequence {} holds tokens in layer {}: expected an empty one", sequence,
         layer);
  }
  const LayerState& state = backend.storage().layer_state(layer);
  const int64_t keys = int64_t{sequence} * c.num_kv_heads * c.head_dim;
  const int64_t queries = int64_t{sequence} * c.num_qo_heads * c.head_dim;
  write_center(backend, key_center, "key_center", c.num_kv_heads, state.key_centers + keys);
  write_center(backend, query_center, "query_center", c.num_qo_heads, state.query_centers + queries);
  const int32_t given = core::kCenterGiven;
  backend.write(state.center_set + sequence, &given, sizeof given, nullptr);
}

}  // namespace hashevict
