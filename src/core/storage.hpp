// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/layer.hpp"
#include "core/settings.hpp"
#include "core/state.hpp"
#include "core/validate.hpp"

namespace hashevict::core {

/// The settings of a cache and its memory, whoever owns it.
struct Storage {
  Settings settings;
  StateLayout layout;
  CacheMemory memory;  ///< complete: for parts that the caller did not lend, it points to the backend's allocations
  OwnMemory own;       ///< the ranges that `memory` covers
  std::vector<Layer> layers;

  [[nodiscard]] const Layer& layer(int32_t index) const { return layers[static_cast<std::size_t>(index)]; }
  /// The arrays of a layer's state.
  [[nodiscard]] StateParts parts(int32_t index) const {
    return state_parts(layer(index), settings.placement.is_on_device());
  }
  [[nodiscard]] StatePart part(int32_t index, StatePartIndex which) const {
    return parts(index)[static_cast<std::size_t>(which)];
  }
};

}  // namespace hashevict::core
