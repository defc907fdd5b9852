// SPDX-License-Identifier: Apache-2.0
#include "core/state.hpp"

#include "core/carver.hpp"

namespace hashevict::core {

namespace {

int64_t items_of(Scope scope, const Shape& shape, const LayerSettings& layer) {
  switch (scope) {
    case Scope::slot:
      return layer.padded_slots;
    case Scope::kv_head:
    case Scope::layer_kv_head:
      return shape.num_kv_heads;
    case Scope::query_head:
      return shape.num_qo_heads;
    case Scope::sequence:
      return 1;
    case Scope::projection:
      return layer.rule.num_projections;
    case Scope::split:
      return layer.num_splits.value;
  }
  return 0;
}

/// The list of arrays, without memory.
StateParts describe(const Shape& shape, const LayerSettings& layer, bool on_device) {
  const auto part = [&](const char* name, Scope scope, int64_t item_bytes, unsigned char empty, Content content) {
    const bool exists = on_device || (content != Content::tickets && content != Content::launch);
    return StatePart{name, scope, exists ? item_bytes : 0, items_of(scope, shape, layer), empty, content, nullptr};
  };
  return {{
#define HASHEVICT_PART(name, Element, scope, elements, empty, content)                                     \
  part(#name, Scope::scope, static_cast<int64_t>(elements) * static_cast<int64_t>(sizeof(Element)), empty, \
       Content::content),
      HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
  }};
}

}  // namespace

StateLayout lay_out_state(const Settings& settings) {
  StateLayout layout;
  Carver carver;
  for (const LayerSettings& layer : settings.layers) {
    StateLayout::Numbers& offsets = layout.offsets.emplace_back();
    const StateParts parts = describe(settings.shape, layer, settings.placement.is_on_device());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const int64_t sequences = parts[i].of_sequences() ? settings.shape.num_sequences : 1;
      const uint64_t bytes = checked_product({sequences, parts[i].items, parts[i].item_bytes});
      offsets[i] = carver.take<std::byte>({static_cast<int64_t>(bytes)});
      layout.bytes[i] += bytes;  // cannot overflow: the carver's sum, which contains it, is checked
    }
  }
  layout.total_bytes = carver.end();
  return layout;
}

StatePointers state_pointers(const Settings& settings, const StateLayout& layout, int32_t layer, void* state) {
  const StateLayout::Numbers& offsets = layout.offsets[static_cast<std::size_t>(layer)];
  const StateParts parts = describe(settings.shape, settings.layer(layer), settings.placement.is_on_device());
  StatePointers pointers{};
  std::size_t i = 0;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content)              \
  if (parts[i].item_bytes > 0) pointers.name = part_at<Element>(state, offsets[i]); \
  ++i;
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
  return pointers;
}

StateParts state_parts(const Layer& layer, bool on_device) {
  StateParts parts = describe(layer.shape, layer, on_device);
  std::size_t i = 0;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content) \
  parts[i++].base = reinterpret_cast<std::byte*>(layer.state.name);
  HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
  return parts;
}

uint64_t dense_kv_bytes(const Settings& settings, int32_t layer) {
  const Shape& shape = settings.shape;
  return checked_product({shape.num_sequences, settings.layer(layer).num_slots, shape.format.row_bytes()});
}

}  // namespace hashevict::core
