// SPDX-License-Identifier: Apache-2.0
#include "backend/inspection.hpp"

#include <algorithm>
#include <initializer_list>
#include <thread>

namespace hashevict {
namespace {

using core::LayerState;
using core::Storage;

hashevict_tensor make_tensor(void* data, core::DType dtype, std::initializer_list<int64_t> shape,
                             std::initializer_list<int64_t> stride) {
  hashevict_tensor tensor{};
  tensor.data = data;
  tensor.dtype = static_cast<int32_t>(dtype);
  tensor.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape);
  std::copy(stride.begin(), stride.end(), tensor.stride);
  return tensor;
}

hashevict_tensor kv_tensor(const Storage& storage, int32_t layer, void* base) {
  const hashevict_config& c = storage.settings.config;
  const auto& layout = storage.kv_layout(layer);
  if (c.layout == HASHEVICT_LAYOUT_PAGED) {
    return make_tensor(base, storage.settings.dtype,
                       {storage.memory.num_pages, c.num_kv_heads, c.page_size, c.head_dim},
                       {layout.page_stride, layout.head_stride, layout.slot_stride, 1});
  }
  return make_tensor(base, storage.settings.dtype,
                     {c.num_sequences, c.num_kv_heads, storage.layer_settings(layer).capacity, c.head_dim},
                     {layout.sequence_stride, layout.head_stride, layout.slot_stride, 1});
}

}  // namespace

hashevict_view make_view(const Storage& storage, int32_t layer) {
  using core::DType;
  const hashevict_config& c = storage.settings.config;
  const LayerState& state = storage.layer_state(layer);
  const int64_t capacity = storage.layer_settings(layer).capacity;
  const int64_t padded = storage.layer_settings(layer).padded_capacity;
  const int64_t heads = c.num_kv_heads;
  const int64_t bytes = storage.settings.code_bytes;
  hashevict_view view{};
  view.keys = kv_tensor(storage, layer, storage.keys(layer));
  view.values = kv_tensor(storage, layer, storage.values(layer));
  view.codes = make_tensor(state.codes, DType::uint8, {c.num_sequences, heads, capacity, bytes},
                           {heads * padded * bytes, padded * bytes, bytes, 1});
  view.positions =
      make_tensor(state.positions, DType::int32, {c.num_sequences, heads, capacity}, {heads * padded, padded, 1});
  view.lengths = make_tensor(state.lengths, DType::int32, {c.num_sequences}, {1});
  view.tokens_seen = make_tensor(state.tokens_seen, DType::int32, {c.num_sequences}, {1});
  return view;
}

namespace {

/// Adds one layer's sequences [first, end) to the totals.
void add_statistics(Backend& backend, int32_t layer, int32_t first, int32_t end, hashevict_stream stream,
                    hashevict_statistics& totals) {
  const Storage& storage = backend.storage();
  const LayerState& state = storage.layer_state(layer);
  for (int32_t sequence = first; sequence < end; ++sequence) {
    int32_t seen = 0;
    int32_t length = 0;
    backend.read(&seen, state.tokens_seen + sequence, sizeof seen, stream);
    backend.read(&length, state.lengths + sequence, sizeof length, stream);
    totals.tokens_seen += seen;
    totals.slots_used += length;
    totals.slots_total += storage.layer_settings(layer).capacity;
  }
}

}  // namespace

hashevict_statistics make_statistics(Backend& backend, int32_t layer, int32_t sequence, hashevict_stream stream) {
  const core::Settings& settings = backend.storage().settings;
  const int32_t first_layer = layer == -1 ? 0 : layer;
  const int32_t end_layer = layer == -1 ? settings.config.num_layers : layer + 1;
  const int32_t first = sequence == -1 ? 0 : sequence;
  const int32_t end = sequence == -1 ? settings.config.num_sequences : sequence + 1;
  hashevict_statistics totals{};
  for (int32_t i = first_layer; i < end_layer; ++i) add_statistics(backend, i, first, end, stream, totals);
  totals.evictions = totals.tokens_seen - totals.slots_used;
  const uint64_t slot_bytes = 2 * static_cast<uint64_t>(settings.heads()) *
                              static_cast<uint64_t>(settings.config.head_dim) *
                              static_cast<uint64_t>(core::size_of(settings.dtype));
  totals.kv_bytes = static_cast<uint64_t>(totals.slots_used) * slot_bytes;
  totals.kv_bytes_full = static_cast<uint64_t>(totals.tokens_seen) * slot_bytes;
  return totals;
}

hashevict_capabilities library_capabilities() {
  hashevict_capabilities c{};
  c.version_major = HASHEVICT_VERSION_MAJOR;
  c.version_minor = HASHEVICT_VERSION_MINOR;
  c.version_patch = HASHEVICT_VERSION_PATCH;
  c.max_head_dim = 256;
  c.num_hardware_threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  const auto bit = [](int index) { return uint32_t{1} << index; };
  for (int log2 = 3; log2 <= 7; ++log2) c.hash_bits_mask |= bit(log2);
  for (int policy = HASHEVICT_POLICY_HASH; policy <= HASHEVICT_POLICY_SUPERSEDED; ++policy)
    c.policy_mask |= bit(policy);
  for (int mode = HASHEVICT_PREFILL_REPLAY; mode <= HASHEVICT_PREFILL_RECENT; ++mode) c.prefill_mode_mask |= bit(mode);
  for (int layout = HASHEVICT_LAYOUT_HEAD_MAJOR; layout <= HASHEVICT_LAYOUT_PAGED; ++layout) {
    c.layout_mask |= bit(layout);
  }
  c.storage_dtype_mask = bit(HASHEVICT_FLOAT32) | bit(HASHEVICT_FLOAT16) | bit(HASHEVICT_BFLOAT16);
  return c;
}

}  // namespace hashevict
