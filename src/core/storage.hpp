// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/kv_layout.hpp"
#include "core/settings.hpp"
#include "core/state.hpp"
#include "core/validate.hpp"

namespace hashevict::core {

/// All that a cache holds: what it is, and where its memory lies, whoever owns that.
struct Storage {
  Settings settings;
  StateLayout layout;
  CacheMemory memory;  ///< complete: parts that were not lent point to the backend's own allocations
  std::vector<LayerState> layers;

  [[nodiscard]] const LayerSettings& layer_settings(int32_t layer) const {
    return settings.layers[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] const LayerState& layer_state(int32_t layer) const { return layers[static_cast<std::size_t>(layer)]; }
  [[nodiscard]] void* keys(int32_t layer) const { return memory.keys[static_cast<std::size_t>(layer)]; }
  [[nodiscard]] void* values(int32_t layer) const { return memory.values[static_cast<std::size_t>(layer)]; }
  [[nodiscard]] const KvLayout& kv_layout(int32_t layer) const {
    return memory.layouts[static_cast<std::size_t>(layer)];
  }
};

/// Where one head's slots lie. `pages` is the sequence's row of the block table, nullptr if not paged; a backend whose
/// table is device memory passes a host copy.
inline SlotAddress slot_address(const Storage& storage, int32_t layer, int32_t sequence, int32_t kv_head,
                                const int32_t* pages) {
  const KvLayout& layout = storage.kv_layout(layer);
  const int64_t sequence_offset = pages == nullptr ? sequence * layout.sequence_stride : 0;
  return SlotAddress{pages, storage.settings.config.page_size, layout.page_stride, layout.slot_stride,
                     sequence_offset + kv_head * layout.head_stride};
}

}  // namespace hashevict::core
