// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstring>

#include "backend/construct.hpp"
#include "cpu/encode_kernel.hpp"

namespace hashevict::cpu {

CpuBackend::CpuBackend(core::Storage storage, std::vector<AlignedMemory> owned)
    : Backend{std::move(storage)},
      owned_{std::move(owned)},
      workspace_{storage_.settings, storage_.memory.workspace},
      executor_{storage_.settings} {
  draw_projections(*this);
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
  std::vector<AlignedMemory> owned;
  const uint64_t workspace = workspace_bytes(settings);
  core::Storage storage = make_storage(std::move(settings), memory, workspace, [&](uint64_t bytes) {
    return owned.emplace_back(allocate_aligned(bytes)).get();
  });
  return std::make_unique<CpuBackend>(std::move(storage), std::move(owned));
}

void describe(hashevict_capabilities& capabilities) {
  std::strncpy(capabilities.cpu_target, simd_target_name(), sizeof capabilities.cpu_target - 1);
}

}  // namespace hashevict::cpu
