// SPDX-License-Identifier: Apache-2.0
#include "backend/construct.hpp"

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "backend/checksum.hpp"
#include "backend/transfers.hpp"
#include "core/projection.hpp"
#include "core/splits.hpp"

namespace hashevict {
namespace {

void complete(core::CacheMemory& memory, const core::Settings& settings, uint64_t state_bytes, uint64_t workspace_bytes,
              const std::function<void*(uint64_t)>& allocate) {
  if (memory.keys.empty()) {
    for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) {
      memory.keys.push_back(allocate(core::dense_kv_bytes(settings, layer)));
      memory.values.push_back(allocate(core::dense_kv_bytes(settings, layer)));
    }
  }
  if (memory.state == nullptr) memory.state = allocate(state_bytes);
  if (memory.workspace == nullptr) memory.workspace = allocate(workspace_bytes);
}

/// A layer's projections, transposed; zeros where the caller sets learned ones.
std::vector<float> draw_layer(const core::Layer& layer) {
  const core::RuleSettings& rule = layer.rule;
  const auto size = static_cast<std::size_t>(rule.hash_bits) * static_cast<std::size_t>(layer.shape.head_dim);
  std::vector<float> transposed(static_cast<std::size_t>(rule.num_projections) * size);
  for (int32_t i = 0; i < rule.num_projections && !rule.learns_projection(); ++i) {
    const std::vector<float> drawn = core::draw_projection(
        {.seed = rule.seed,
         .layer = layer.index,
         .kv_head = rule.projection_per_head ? layer.shape.kv_head_offset + i : core::kSharedByHeads,
         .orthogonal = rule.projection_kind == HASHEVICT_PROJECTION_ORTHOGONAL},
        rule.hash_bits, layer.shape.head_dim);
    core::transpose(drawn, rule.hash_bits, layer.shape.head_dim,
                    transposed.data() + static_cast<std::size_t>(i) * size);
  }
  return transposed;
}

}  // namespace

core::Storage make_storage(core::Settings settings, const hashevict_memory* memory, uint64_t workspace_bytes,
                           const std::function<void*(uint64_t)>& allocate) {
  core::Storage storage;
  storage.settings = std::move(settings);
  storage.layout = core::lay_out_state(storage.settings);
  storage.memory = core::validate_memory(memory, storage.settings, storage.layout.total_bytes, workspace_bytes);
  complete(storage.memory, storage.settings, storage.layout.total_bytes, workspace_bytes, allocate);
  storage.own = core::own_memory(storage.memory, storage.settings, storage.layout.total_bytes, workspace_bytes);
  for (int32_t layer = 0; layer < storage.settings.shape.num_layers; ++layer) {
    const auto index = static_cast<std::size_t>(layer);
    for (int32_t kv_head = 0; kv_head < storage.settings.shape.num_kv_heads; ++kv_head) {
      const std::size_t at = storage.settings.head_index(layer, kv_head);
      storage.settings.heads[at].slots_offset = storage.memory.head_offsets[at];
    }
    storage.layers.push_back(
        core::Layer{storage.settings.layer(layer), layer, storage.settings.shape, storage.memory.keys[index],
                    storage.memory.values[index], storage.memory.layouts[index],
                    storage.memory.table.of_layer(layer, storage.settings.shape.num_sequences),
                    core::state_pointers(storage.settings, storage.layout, layer, storage.memory.state)});
  }
  return storage;
}

void write_parameters(Backend& backend) {
  const core::Storage& storage = backend.storage();
  std::vector<std::vector<float>> all;  // kept until the transfers are finished, as the splits are
  std::vector<std::vector<core::Split>> splits;
  Transfers transfers{backend, nullptr};
  for (const core::Layer& layer : storage.layers) {
    const std::span<const core::HeadSettings> heads = storage.settings.heads_of(layer.index);
    transfers.write(layer.state.heads, heads.data(), {heads.size_bytes()});
    if (layer.state.splits != nullptr) {
      std::vector<core::Split>& own = splits.emplace_back();
      for (std::size_t i = 0; i < heads.size(); ++i) {
        core::add_splits(static_cast<int32_t>(i), heads[i].capacity, heads[i].split_slots(), own);
      }
      transfers.write(layer.state.splits, own.data(), {own.size() * sizeof(core::Split)});
    }
    const std::vector<float>& transposed = all.emplace_back(draw_layer(layer));
    transfers.write(layer.state.projection, transposed.data(), {transposed.size() * sizeof(float)});
    if (!layer.rule.learns_projection())
      backend.note(Parameter::projection, layer.index, parameter_checksum(transposed));
  }
  transfers.finish();
}

}  // namespace hashevict
