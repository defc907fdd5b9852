// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/layer_settings.hpp"
#include "hashevict/hashevict.h"

namespace hashevict::core {

/// Stands for every layer or every sequence.
inline constexpr int32_t kAll = -1;

/// The largest value of ::hashevict_layout.
inline constexpr int32_t kLastLayout = HASHEVICT_LAYOUT_PAGED_PER_HEAD;
/// The largest head size: a warp of the attention kernels holds eight elements a lane.
inline constexpr int32_t kMaxHeadDim = 256;

/// The device of a cache, and the layout of its keys and values.
struct Placement {
  int32_t backend;    ///< ::hashevict_backend, AUTO resolved
  int32_t device;     ///< CUDA device ordinal
  int32_t layout;     ///< ::hashevict_layout
  int32_t page_size;  ///< slots per page; unused unless paged

  [[nodiscard]] bool is_head_major() const { return layout == HASHEVICT_LAYOUT_HEAD_MAJOR; }
  [[nodiscard]] bool is_paged() const { return layout == HASHEVICT_LAYOUT_PAGED || is_paged_per_head(); }
  [[nodiscard]] bool is_paged_per_head() const { return layout == HASHEVICT_LAYOUT_PAGED_PER_HEAD; }
  /// Whether the heads of a sequence or of a page are a stride apart, which requires equal capacities.
  [[nodiscard]] bool has_head_stride() const { return !is_head_major() && !is_paged_per_head(); }
  [[nodiscard]] bool is_on_device() const { return backend == HASHEVICT_BACKEND_CUDA; }
};

/// How operations run.
struct Execution {
  int64_t max_batch_tokens;             ///< tokens of all rows
  int32_t num_threads;                  ///< CPU: as given; 0: all that this process may use
  int32_t num_workers;                  ///< CPU: parallel tasks, each with its own part of the workspace
  hashevict_parallel_for parallel_for;  ///< CPU: the caller's loop, or NULL
  void* parallel_for_context;
};

/// A validated config with all derived values. Only validate_config() makes one.
struct Settings {
  Settings() = default;
  Settings(Settings&&) = default;
  Settings& operator=(Settings&&) = default;
  Settings(const Settings&) = delete;  // `config` points into the original

  Shape shape{};
  std::vector<LayerSettings> layers;
  std::vector<HeadSettings> heads;  ///< [num_layers, num_kv_heads]
  Placement placement{};
  Execution execution{};

  hashevict_config config{};                ///< as given; only hashevict_get_config() reads it
  std::vector<int32_t> capacities;          ///< `config.shape.capacities` points to it
  std::vector<hashevict_rule> layer_rules;  ///< `config.layer_rules` points to it

  [[nodiscard]] const LayerSettings& layer(int32_t index) const { return layers[static_cast<std::size_t>(index)]; }
  [[nodiscard]] std::size_t head_index(int32_t layer, int32_t kv_head) const {
    return static_cast<std::size_t>(layer) * static_cast<std::size_t>(shape.num_kv_heads) +
           static_cast<std::size_t>(kv_head);
  }
  [[nodiscard]] const HeadSettings& head(int32_t layer, int32_t kv_head) const {
    return heads[head_index(layer, kv_head)];
  }
  /// The heads of a layer: [num_kv_heads].
  [[nodiscard]] std::span<const HeadSettings> heads_of(int32_t layer) const {
    return std::span{heads}.subspan(head_index(layer, 0), static_cast<std::size_t>(shape.num_kv_heads));
  }
};

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace hashevict::core
