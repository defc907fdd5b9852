// SPDX-License-Identifier: Apache-2.0
#include "backend/inspection.hpp"

#include <algorithm>
#include <initializer_list>
#include <span>

#include "backend/transfers.hpp"
#include "core/machine.hpp"
#include "core/validate.hpp"

namespace hashevict {
namespace {

using core::Layer;
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

/// The keys (or values) of one head.
hashevict_tensor kv_tensor(const Storage& storage, int32_t layer, const core::HeadSettings& head, void* base) {
  const core::Shape& shape = storage.settings.shape;
  const core::KvLayout& kv = storage.layer(layer).kv;
  const int64_t element = shape.format.element_bytes();
  void* const first = static_cast<std::byte*>(base) + head.slots_offset;
  if (storage.settings.placement.is_paged()) {
    return make_tensor(first, shape.format.dtype, {storage.memory.num_pages, kv.page_size.value, shape.head_dim},
                       {kv.page_stride / element, kv.slot_stride / element, 1});
  }
  return make_tensor(first, shape.format.dtype, {shape.num_sequences, head.capacity, shape.head_dim},
                     {kv.sequence_stride / element, kv.slot_stride / element, 1});
}

}  // namespace

hashevict_view make_view(const Storage& storage, int32_t layer, int32_t kv_head) {
  using core::DType;
  const Layer& own = storage.layer(layer);
  const core::HeadSettings& head = storage.settings.head(layer, kv_head);
  const core::StatePointers& state = own.state;
  const int64_t sequences = own.shape.num_sequences;
  const int64_t heads = own.shape.num_kv_heads;
  const int64_t bytes = own.rule.code_bytes;
  hashevict_view view{};
  view.keys = kv_tensor(storage, layer, head, own.keys);
  view.values = kv_tensor(storage, layer, head, own.values);
  view.codes = make_tensor(state.codes + head.first_slot * bytes, DType::uint8, {sequences, head.capacity, bytes},
                           {own.padded_slots * bytes, bytes, 1});
  view.positions =
      make_tensor(state.positions + head.first_slot, DType::int32, {sequences, head.capacity}, {own.padded_slots, 1});
  view.lengths = make_tensor(state.lengths + kv_head, DType::int32, {sequences}, {heads});
  view.tokens_seen = make_tensor(state.tokens_seen + kv_head, DType::int32, {sequences}, {heads});
  return view;
}

namespace {

/// Layers, heads or sequences [first, end): all of `count`, or the one that was asked for.
struct Asked {
  int32_t first, end;

  Asked(int32_t one, int32_t count) : first{one == core::kAll ? 0 : one}, end{one == core::kAll ? count : one + 1} {}
  [[nodiscard]] int32_t size() const { return end - first; }
};

/// Tokens that sequences have seen, layer by layer.
std::span<const int32_t> read_tokens_seen(Backend& backend, const Asked& layers, const Asked& sequences,
                                          hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const auto heads = static_cast<uint64_t>(storage.settings.shape.num_kv_heads);
  const std::span<int32_t> counters = backend.host_numbers();
  Transfers transfers{backend, stream};
  int32_t* host = counters.data();
  for (int32_t layer = layers.first; layer < layers.end; ++layer) {
    const int32_t* const seen = storage.layer(layer).state.tokens_seen + static_cast<uint64_t>(sequences.first) * heads;
    transfers.read(
        host, seen,
        {sizeof(int32_t), static_cast<uint64_t>(sequences.size()), sizeof(int32_t), heads * sizeof(int32_t)});
    host += sequences.size();
  }
  transfers.finish();
  return counters;
}

}  // namespace

hashevict_statistics make_statistics(Backend& backend, int32_t layer, int32_t kv_head, int32_t sequence,
                                     hashevict_stream stream) {
  const core::Settings& settings = backend.storage().settings;
  const Asked layers{layer, settings.shape.num_layers};
  const Asked heads{kv_head, settings.shape.num_kv_heads};
  const Asked sequences{sequence, settings.shape.num_sequences};
  hashevict_statistics totals{};
  const int32_t* seen = read_tokens_seen(backend, layers, sequences, stream).data();
  for (int32_t i = layers.first; i < layers.end; ++i) {
    for (int32_t n = 0; n < sequences.size(); ++n, ++seen) {
      for (int32_t h = heads.first; h < heads.end; ++h) {
        totals.tokens_seen += *seen;
        totals.slots_used += settings.head(i, h).length(*seen);
        totals.slots_total += settings.head(i, h).capacity;
      }
    }
  }
  totals.evictions = totals.tokens_seen - totals.slots_used;
  const uint64_t slot_bytes = 2 * static_cast<uint64_t>(settings.shape.format.row_bytes());
  totals.kv_bytes = static_cast<uint64_t>(totals.slots_used) * slot_bytes;
  totals.kv_bytes_full = static_cast<uint64_t>(totals.tokens_seen) * slot_bytes;
  return totals;
}

hashevict_capabilities library_capabilities() {
  hashevict_capabilities c{};
  c.version_major = HASHEVICT_VERSION_MAJOR;
  c.version_minor = HASHEVICT_VERSION_MINOR;
  c.version_patch = HASHEVICT_VERSION_PATCH;
  c.max_head_dim = core::kMaxHeadDim;
  c.num_hardware_threads = core::usable_threads();
  c.host_memory_bytes = core::usable_memory();
  const auto bit = [](int index) { return uint32_t{1} << index; };
  for (int log2 = 3; log2 <= 7; ++log2) c.hash_bits_mask |= bit(log2);
  for (int policy = HASHEVICT_POLICY_HASH; policy <= core::kLastPolicy; ++policy) c.policy_mask |= bit(policy);
  for (int mode = HASHEVICT_PREFILL_REPLAY; mode <= HASHEVICT_PREFILL_RECENT; ++mode) c.prefill_mode_mask |= bit(mode);
  for (int layout = HASHEVICT_LAYOUT_HEAD_MAJOR; layout <= core::kLastLayout; ++layout) {
    c.layout_mask |= bit(layout);
  }
  for (const core::Choice& dtype : core::kFloatDtypes) c.storage_dtype_mask |= bit(static_cast<int>(dtype.value));
  return c;
}

}  // namespace hashevict
