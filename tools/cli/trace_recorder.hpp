// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <hashevict/tensor.hpp>
#include <vector>

#include "engine/kv_cache.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::cli {

/// Records the queries, keys and values of a model, as a trace for `replay`.
class TraceRecorder {
 public:
  explicit TraceRecorder(const engine::ModelConfig& model);

  /// Returns the function for engine::KvCache::set_observer().
  void observe(const engine::KvCache::Observation& step);

  /// The queries, or keys, of a layer: `[tokens, heads, head_dim]`.
  const std::vector<float>& queries(int32_t layer) const { return layers_.at(static_cast<size_t>(layer)).q; }
  const std::vector<float>& keys(int32_t layer) const { return layers_.at(static_cast<size_t>(layer)).k; }

  /// @param add_learned adds what the replay's rule takes beside the tokens, or is empty. @throws Error
  void write(const std::filesystem::path& path,
             const std::function<void(engine::SafetensorsWriter&)>& add_learned = {}) const;

 private:
  struct Layer {
    std::vector<float> q, k, v;
  };
  std::vector<Layer> layers_;
  int64_t num_qo_heads_, num_kv_heads_, head_dim_;
};

}  // namespace hashevict::cli
