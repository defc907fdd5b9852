// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "core/validate.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/head.hpp"

namespace hashevict::cpu {

void CpuBackend::reset_layer(int32_t layer, int32_t sequence) {
  const bool all = sequence == core::kAll;
  const int64_t sequences = all ? storage_.settings.shape.num_sequences : 1;
  for (const core::StatePart& part : storage_.parts(layer)) {
    if (!part.of_sequences() || part.bytes() == 0) continue;
    std::fill_n(part.of(all ? 0 : sequence), part.bytes() * sequences, std::byte{part.empty});
  }
}

void CpuBackend::fork_layer(int32_t layer, int32_t source, int32_t target) {
  for (const core::StatePart& part : storage_.parts(layer)) {
    if (!part.is_forked() || part.bytes() == 0) continue;
    std::memcpy(part.of(target), part.of(source), static_cast<std::size_t>(part.bytes()));
  }
  const core::Layer& at = storage_.layer(layer);
  for (int32_t kv_head = 0; kv_head < at.shape.num_kv_heads; ++kv_head) {
    const Head from = core::head_of(at, source, kv_head);
    const Head to = core::head_of(at, target, kv_head);
    for (int32_t slot = 0; slot < *from.lengths; ++slot) copy_rows(from, slot, to, slot);
  }
}

void CpuBackend::reset(int32_t sequence, hashevict_stream /*stream*/) {
  for (int32_t layer = 0; layer < storage_.settings.shape.num_layers; ++layer) reset_layer(layer, sequence);
}

void CpuBackend::fork(int32_t source, int32_t target, hashevict_stream /*stream*/) {
  const int32_t num_layers = storage_.settings.shape.num_layers;
  const std::span<int32_t> tokens = host_numbers().first(storage_.layers.size());
  for (const core::Layer& layer : storage_.layers) {
    tokens[static_cast<std::size_t>(layer.index)] = core::tokens_seen(layer, source);
  }
  core::validate_pages_of_layers(storage_.settings, storage_.memory, std::array{source, target}, tokens, pages_);
  executor_.for_each(
      num_layers, [&](int64_t layer, int32_t /*worker*/) { fork_layer(static_cast<int32_t>(layer), source, target); });
}

}  // namespace hashevict::cpu
