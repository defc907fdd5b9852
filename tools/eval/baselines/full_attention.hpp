// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "scored_cache.hpp"

namespace hashevict::eval::baselines {

/// The attention of a whole sequence over a cache that evicts nothing, averaged over the heads that share a KV head.
class FullAttention {
 public:
  FullAttention(int32_t num_layers, int32_t num_kv_heads);

  /// For ScoredCache::set_observer(), token after token.
  void observe(int32_t layer, int32_t kv_head, const Token& token, std::span<const float> weights);

  int32_t num_layers() const { return num_layers_; }
  int32_t num_kv_heads() const { return num_kv_heads_; }
  int32_t num_tokens() const { return static_cast<int32_t>(heads_.front().size()); }
  /// Weights of the token at `position`, by the position attended to: `[position + 1]`.
  std::span<const float> row(int32_t layer, int32_t kv_head, int32_t position) const;

  /// Share of the attention of the token at `position` that falls on positions which are not held, mean over heads.
  /// @param held `[num_layers * num_kv_heads]`, positions in any order; the token itself counts as held
  double lost(int32_t position, const std::vector<std::vector<int32_t>>& held) const;

 private:
  const std::vector<std::vector<float>>& rows(int32_t layer, int32_t kv_head) const;

  int32_t num_layers_, num_kv_heads_;
  std::vector<std::vector<std::vector<float>>> heads_;
};

/// What the rest of a sequence needs of each token: the sum, or the largest, of the attention that it is yet to get.
class FutureAttention {
 public:
  enum class Need { sum, largest };
  FutureAttention(const FullAttention& attention, Need need);

  /// From the token at `now` on, itself included.
  float needed(int32_t layer, int32_t kv_head, int32_t position, int32_t now) const;

 private:
  int32_t num_kv_heads_;
  std::vector<std::vector<std::vector<float>>> heads_;
};

/// The oracle: evicts what the future needs least, as the full cache's attention tells it. A bound to aim for, not the
/// best there is: it is greedy, and once it has evicted, the true future is no longer quite the recorded one.
class Oracle : public Scorer {
 public:
  /// @param future outlives the scorer
  Oracle(const FutureAttention& future, int32_t layer, int32_t kv_head)
      : future_(future), layer_(layer), kv_head_(kv_head) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  const FutureAttention& future_;
  int32_t layer_, kv_head_;
};

}  // namespace hashevict::eval::baselines
