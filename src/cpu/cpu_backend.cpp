// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "backend/construct.hpp"
#include "cpu/attend_kernel.hpp"
#include "cpu/encode_kernel.hpp"
#include "cpu/head.hpp"

namespace hashevict::cpu {

CpuBackend::CpuBackend(core::Storage storage, std::vector<AlignedMemory> owned)
    : Backend{std::move(storage)},
      owned_{std::move(owned)},
      workspace_{storage_.settings, storage_.memory.workspace},
      executor_{storage_.settings},
      pages_{core::pages_of_check(storage_.settings)} {
  for (const core::Layer& layer : storage_.layers) {
    schedules_.emplace_back(storage_.settings.heads_of(layer.index));
  }
  write_parameters(*this);
  reset(core::kAll, nullptr);
}

void CpuBackend::validate(const core::Step& step, core::Operation operation) {
  core::validate_batch_contents(step, storage_.settings, storage_.memory, storage_.layer(step.layer), operation,
                                workspace_.seen(), pages_);
}

void CpuBackend::count_tokens(const core::Step& step, bool is_prompt) {
  const core::Layer& layer = storage_.layer(step.layer);
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    const auto num_tokens = static_cast<int32_t>(step.end_token(row) - step.first_token(row));
    if (sequence < 0 || num_tokens == 0) continue;
    const int32_t seen = core::tokens_seen(layer, sequence) + num_tokens;
    for (int32_t kv_head = 0; kv_head < layer.shape.num_kv_heads; ++kv_head) {
      const int64_t counter = core::counter_of(layer, sequence, kv_head);
      layer.state.tokens_seen[counter] = seen;
      layer.state.lengths[counter] = storage_.settings.head(layer.index, kv_head).length(seen);
    }
    if (is_prompt) layer.state.prompt_lengths[sequence] = seen;
  }
}

void CpuBackend::start_read(void* host, const void* memory, const Runs& runs, hashevict_stream /*stream*/) {
  for (uint64_t i = 0; i < runs.count; ++i) {
    std::memcpy(static_cast<std::byte*>(host) + i * runs.host_stride,
                static_cast<const std::byte*>(memory) + i * runs.memory_stride, runs.bytes);
  }
}

void CpuBackend::start_write(void* memory, const void* host, const Runs& runs, hashevict_stream /*stream*/) {
  for (uint64_t i = 0; i < runs.count; ++i) {
    std::memcpy(static_cast<std::byte*>(memory) + i * runs.memory_stride,
                static_cast<const std::byte*>(host) + i * runs.host_stride, runs.bytes);
  }
}

void CpuBackend::wait(hashevict_stream /*stream*/) {}

std::span<const int32_t* const> CpuBackend::host_pages(int32_t sequence, std::span<const int32_t> tokens,
                                                       hashevict_stream /*stream*/) {
  core::validate_pages_of_layers(storage_.settings, storage_.memory, {&sequence, 1}, tokens, pages_);
  for (std::size_t i = 0; i < page_rows_.size(); ++i) {
    const auto head = static_cast<int32_t>(i);
    const core::Layer& layer = storage_.layer(head / storage_.settings.shape.num_kv_heads);
    page_rows_[i] = core::block_table_row(layer.table, sequence, head % layer.shape.num_kv_heads);
  }
  return page_rows_;
}

std::string refusal(int32_t /*device*/) {
  return {};
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
  std::snprintf(capabilities.cpu_target, sizeof capabilities.cpu_target, "%s%s", simd_target_name(),
                multiplies_bfloat() ? ", bf16 products" : "");
}

}  // namespace hashevict::cpu
