// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "core/stripes.hpp"
#include "cpu/cpu_backend.hpp"

namespace hashevict::cpu {

void CpuBackend::reset_layer(int32_t layer, int32_t sequence) {
  for (const core::Stripe& stripe : core::stripes_of(storage_, layer)) {
    std::fill_n(stripe.of(sequence), stripe.bytes, std::byte{stripe.empty});
  }
}

void CpuBackend::fork_layer(int32_t layer, int32_t source, int32_t target) {
  for (const core::Stripe& stripe : core::stripes_of(storage_, layer)) {
    std::memcpy(stripe.of(target), stripe.of(source), static_cast<std::size_t>(stripe.bytes));
  }
  const int32_t length = storage_.layer_state(layer).lengths[source];
  const int64_t element = core::size_of(storage_.settings.dtype);
  const auto row_bytes = static_cast<std::size_t>(storage_.settings.config.head_dim * element);
  for (int32_t kv_head = 0; kv_head < storage_.settings.config.num_kv_heads; ++kv_head) {
    const Head from = make_head(storage_, layer, source, kv_head);
    const Head to = make_head(storage_, layer, target, kv_head);
    for (int32_t slot = 0; slot < length; ++slot) {
      for (void* const base : {from.keys, from.values}) {
        auto* const bytes = static_cast<unsigned char*>(base);
        std::memcpy(bytes + to.address(slot) * element, bytes + from.address(slot) * element, row_bytes);
      }
    }
  }
}

void CpuBackend::reset(int32_t sequence, hashevict_stream /*stream*/) {
  for (int32_t layer = 0; layer < storage_.settings.config.num_layers; ++layer) reset_layer(layer, sequence);
}

void CpuBackend::fork(int32_t source, int32_t target, hashevict_stream /*stream*/) {
  const int32_t num_layers = storage_.settings.config.num_layers;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const int32_t length = storage_.layer_state(layer).lengths[source];
    core::validate_pages(storage_.settings, storage_.memory, source, length);
    core::validate_pages(storage_.settings, storage_.memory, target, length);
  }
  executor_.for_each(
      num_layers, [&](int64_t layer, int32_t /*worker*/) { fork_layer(static_cast<int32_t>(layer), source, target); });
}

}  // namespace hashevict::cpu
