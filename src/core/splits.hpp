// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/layer_settings.hpp"

namespace hashevict::core {

/// Appends the splits of a head, each of `slots` slots; the last one may have fewer.
inline void add_splits(int32_t kv_head, int32_t capacity, int32_t slots, std::vector<Split>& splits) {
  for (int32_t i = 0; i < num_parts(capacity, slots); ++i) splits.push_back({kv_head, i});
}

}  // namespace hashevict::core
