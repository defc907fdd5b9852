// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstring>

#include "core/failure.hpp"
#include "core/projection.hpp"
#include "cpu/encode_kernel.hpp"

namespace hashevict::cpu {
namespace {

AlignedMemory allocate(uint64_t bytes) {
  return AlignedMemory{new (std::align_val_t{HASHEVICT_ALIGNMENT}) std::byte[bytes]};
}

/// Adds what the caller did not lend.
std::vector<AlignedMemory> complete(core::CacheMemory& memory, const core::Settings& settings, uint64_t state_bytes,
                                    uint64_t workspace_bytes) {
  std::vector<AlignedMemory> owned;
  const auto take = [&](uint64_t bytes) { return static_cast<void*>(owned.emplace_back(allocate(bytes)).get()); };
  if (memory.keys.empty()) {
    for (int32_t layer = 0; layer < settings.config.num_layers; ++layer) {
      memory.keys.push_back(take(core::dense_kv_bytes(settings, layer)));
      memory.values.push_back(take(core::dense_kv_bytes(settings, layer)));
    }
  }
  if (memory.state == nullptr) memory.state = take(state_bytes);
  if (memory.workspace == nullptr) memory.workspace = take(workspace_bytes);
  return owned;
}

void draw_projections(const core::Storage& storage) {
  const hashevict_config& config = storage.settings.config;
  const int64_t size = int64_t{config.hash_bits} * config.head_dim;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    for (int32_t i = 0; i < storage.settings.num_projections; ++i) {
      const bool per_head = config.projection_per_head != 0;
      const std::vector<float> drawn =
          core::draw_projection({.seed = config.seed,
                                 .layer = layer,
                                 .kv_head = per_head ? config.kv_head_offset + i : core::kSharedByHeads,
                                 .orthogonal = config.projection_kind == HASHEVICT_PROJECTION_ORTHOGONAL},
                                config.hash_bits, config.head_dim);
      core::transpose(drawn, config.hash_bits, config.head_dim, storage.layer_state(layer).projection + i * size);
    }
  }
}

}  // namespace

CpuBackend::CpuBackend(core::Storage storage, std::vector<AlignedMemory> owned)
    : Backend{std::move(storage)},
      owned_{std::move(owned)},
      workspace_{storage_.settings, storage_.memory.workspace},
      executor_{storage_.settings} {
  draw_projections(storage_);
  for (int32_t sequence = 0; sequence < storage_.settings.config.num_sequences; ++sequence) reset(sequence, nullptr);
}

void CpuBackend::validate(const core::Step& step, core::Operation operation) {
  core::validate_batch_contents(step, storage_.settings, storage_.memory, storage_.layer_state(step.layer), operation,
                                workspace_.seen());
}

void CpuBackend::count_tokens(const core::Step& step, bool is_prompt) {
  const core::LayerState& state = storage_.layer_state(step.layer);
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    const auto num_tokens = static_cast<int32_t>(step.end_token(row) - step.first_token(row));
    if (sequence < 0 || num_tokens == 0) continue;
    state.tokens_seen[sequence] += num_tokens;
    state.lengths[sequence] = std::min(state.tokens_seen[sequence], storage_.layer_settings(step.layer).capacity);
    if (is_prompt) state.prompt_lengths[sequence] = state.tokens_seen[sequence];
  }
}

void CpuBackend::read(void* host, const void* memory, uint64_t bytes, hashevict_stream /*stream*/) {
  std::memcpy(host, memory, bytes);
}

void CpuBackend::write(void* memory, const void* host, uint64_t bytes, hashevict_stream /*stream*/) {
  std::memcpy(memory, host, bytes);
}

const int32_t* CpuBackend::host_pages(int32_t sequence, int32_t num_slots, hashevict_stream /*stream*/) {
  core::validate_pages(storage_.settings, storage_.memory, sequence, num_slots);
  return core::block_table_row(storage_.settings, storage_.memory, sequence);
}

bool available() {
  return true;
}

uint64_t workspace_bytes(const core::Settings& settings) {
  return Workspace::bytes(settings);
}

std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory) {
  core::Storage storage;
  storage.settings = std::move(settings);
  storage.layout = core::lay_out_state(storage.settings);
  const uint64_t workspace = workspace_bytes(storage.settings);
  storage.memory = core::validate_memory(memory, storage.settings, storage.layout.total_bytes, workspace);
  std::vector<AlignedMemory> owned = complete(storage.memory, storage.settings, storage.layout.total_bytes, workspace);
  for (int32_t layer = 0; layer < storage.settings.config.num_layers; ++layer) {
    storage.layers.push_back(core::layer_state(storage.settings, storage.layout, layer, storage.memory.state));
  }
  return std::make_unique<CpuBackend>(std::move(storage), std::move(owned));
}

void describe(hashevict_capabilities& capabilities) {
  std::strncpy(capabilities.cpu_target, simd_target_name(), sizeof capabilities.cpu_target - 1);
}

}  // namespace hashevict::cpu
