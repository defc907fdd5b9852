// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/center.hpp"
#include "core/layer.hpp"
#include "core/settings.hpp"

namespace hashevict::core {

/// The place of every array within the state memory. Offsets count bytes and are multiples of HASHEVICT_ALIGNMENT.
struct StateLayout {
  using Numbers = std::array<uint64_t, kNumStateParts>;
  std::vector<Numbers> offsets;  ///< [num_layers] the offset of each array
  Numbers bytes{};               ///< bytes of each array, over all layers
  uint64_t total_bytes = 0;

  [[nodiscard]] uint64_t bytes_of(StatePartIndex part) const { return bytes[static_cast<std::size_t>(part)]; }
};

/// Measures the state. Fails with INVALID_ARGUMENT if a size exceeds 62 bits.
StateLayout lay_out_state(const Settings& settings);

/// The array pointers of layer `layer` within `state`.
StatePointers state_pointers(const Settings& settings, const StateLayout& layout, int32_t layer, void* state);

/// The arrays of a layer. `on_device`: the backend runs on devices and needs tickets.
StateParts state_parts(const Layer& layer, bool on_device);

/// Bytes of one layer's keys (or values) in dense storage.
uint64_t dense_kv_bytes(const Settings& settings, int32_t layer);

}  // namespace hashevict::core
