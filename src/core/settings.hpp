// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.hpp"
#include "hashevict/hashevict.h"

namespace hashevict::core {

/// What a layer's slots and protected zones come to, once fractions are resolved.
struct LayerSettings {
  int32_t capacity;         ///< slots per KV head
  int32_t padded_capacity;  ///< capacity rounded up, so that scans read whole vectors; padding is never evictable
  int32_t num_sink_tokens;
  int32_t recent_window;
};

/// A validated config with everything that can be derived from it. Made by validate_config() alone.
struct Settings {
  Settings() = default;
  Settings(Settings&&) = default;
  Settings& operator=(Settings&&) = default;
  Settings(const Settings&) = delete;  // `config.layer_capacities` would point into the original

  hashevict_config config{};  ///< as given; `layer_capacities` points into `layer_capacities` below or is NULL
  std::vector<int32_t> layer_capacities;
  std::vector<LayerSettings> layers;
  int32_t group_size{};       ///< query heads per KV head
  int32_t code_bytes{};       ///< hash_bits / 8
  int32_t num_projections{};  ///< per layer: 1 or num_kv_heads
  DType dtype{};              ///< of stored keys and values
  int64_t max_batch_tokens{};
  int32_t num_workers{};  ///< CPU: parallel tasks, each with its own part of the workspace

  [[nodiscard]] bool uses_queries() const {
    return config.policy == HASHEVICT_POLICY_HASH && config.hash_source == HASHEVICT_HASH_SOURCE_QUERY;
  }
  [[nodiscard]] bool centered() const { return config.centering != HASHEVICT_CENTERING_NONE; }
  [[nodiscard]] int64_t heads() const { return config.num_kv_heads; }
  [[nodiscard]] int64_t sequences() const { return config.num_sequences; }
};

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace hashevict::core
