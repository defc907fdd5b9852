// SPDX-License-Identifier: Apache-2.0
#include "backend/construct.hpp"

#include <utility>
#include <vector>

#include "core/projection.hpp"

namespace hashevict {
namespace {

void complete(core::CacheMemory& memory, const core::Settings& settings, uint64_t state_bytes, uint64_t workspace_bytes,
              const std::function<void*(uint64_t)>& allocate) {
  if (memory.keys.empty()) {
    for (int32_t layer = 0; layer < settings.config.num_layers; ++layer) {
      memory.keys.push_back(allocate(core::dense_kv_bytes(settings, layer)));
      memory.values.push_back(allocate(core::dense_kv_bytes(settings, layer)));
    }
  }
  if (memory.state == nullptr) memory.state = allocate(state_bytes);
  if (memory.workspace == nullptr) memory.workspace = allocate(workspace_bytes);
}

}  // namespace

core::Storage make_storage(core::Settings settings, const hashevict_memory* memory, uint64_t workspace_bytes,
                           const std::function<void*(uint64_t)>& allocate) {
  core::Storage storage;
  storage.settings = std::move(settings);
  storage.layout = core::lay_out_state(storage.settings);
  storage.memory = core::validate_memory(memory, storage.settings, storage.layout.total_bytes, workspace_bytes);
  complete(storage.memory, storage.settings, storage.layout.total_bytes, workspace_bytes, allocate);
  for (int32_t layer = 0; layer < storage.settings.config.num_layers; ++layer) {
    storage.layers.push_back(core::layer_state(storage.settings, storage.layout, layer, storage.memory.state));
  }
  return storage;
}

void draw_projections(Backend& backend) {
  const core::Storage& storage = backend.storage();
  const hashevict_config& config = storage.settings.config;
  const auto size = static_cast<std::size_t>(config.hash_bits) * static_cast<std::size_t>(config.head_dim);
  std::vector<float> transposed(size);
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    for (int32_t i = 0; i < storage.settings.num_projections; ++i) {
      const bool per_head = config.projection_per_head != 0;
      const std::vector<float> drawn =
          core::draw_projection({.seed = config.seed,
                                 .layer = layer,
                                 .kv_head = per_head ? config.kv_head_offset + i : core::kSharedByHeads,
                                 .orthogonal = config.projection_kind == HASHEVICT_PROJECTION_ORTHOGONAL},
                                config.hash_bits, config.head_dim);
      core::transpose(drawn, config.hash_bits, config.head_dim, transposed.data());
      backend.write(storage.layer_state(layer).projection + static_cast<std::size_t>(i) * size, transposed.data(),
                    size * sizeof(float), nullptr);
    }
  }
}

}  // namespace hashevict
