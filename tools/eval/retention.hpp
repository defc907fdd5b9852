// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <string_view>
#include <vector>

#include "report.hpp"
#include "scores.hpp"

namespace hashevict::eval {

/// Notes when each head lets go of each position. Watches one sequence of a cache from its first token on.
class RetentionRecorder {
 public:
  RetentionRecorder(int32_t num_layers, int32_t num_kv_heads);

  /// For engine::KvCache::set_observer().
  void observe(const Step& step);

  /// Per layer and head, the step that overwrote each position, or the number of tokens seen if it is still held.
  std::vector<HeadRetention> result() const;

 private:
  std::vector<HeadRetention> heads_;  // layer-major; evicted_at is -1 while held
  std::vector<int32_t> num_seen_;     // tokens, per layer
  int32_t num_kv_heads_;
};

/// Keeps the queries, keys and values that a model computes, to be written as a trace for `replay`.
class TraceRecorder {
 public:
  explicit TraceRecorder(const engine::ModelConfig& model);

  /// For engine::KvCache::set_observer().
  void observe(const Step& step);

  /// All queries, or keys, of a layer: `[tokens, heads, head_dim]`.
  const std::vector<float>& queries(int32_t layer) const { return layers_.at(static_cast<size_t>(layer)).q; }
  const std::vector<float>& keys(int32_t layer) const { return layers_.at(static_cast<size_t>(layer)).k; }

  /// @param votes that the replay is to use, or null. @throws Error
  void write(const std::filesystem::path& path, const Votes* votes = nullptr) const;

 private:
  struct Layer {
    std::vector<float> q, k, v;
  };
  std::vector<Layer> layers_;
  int64_t num_qo_heads_, num_kv_heads_, head_dim_;
};

/// Streams the example's prompt under a policy and answers it greedily. If `trace` is not empty, what the model
/// computed for the prompt is written there. @throws Error
Retention follow(const Runtime& runtime, std::string_view policy, double budget, const Example& example, uint64_t seed,
                 const std::filesystem::path& trace = {});

}  // namespace hashevict::eval
