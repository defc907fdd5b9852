// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/attention_cache.hpp"
#include "scorer.hpp"

namespace hashevict::eval::baselines {

/// Shape of a ScoredCache, which holds one sequence.
struct ScoredConfig {
  int32_t num_layers = 0;
  engine::HeadShape shape{};
  int32_t capacity = 0;  ///< slots per KV head
  int32_t num_sink_tokens = 0;
  int32_t recent_window = 0;  ///< as in hashevict::Config: the last tokens that are never evicted, besides the new one
};

/**
 * A bounded cache in which a Scorer per head evicts, for the policies that need what the library never computes:
 * attention weights, exact keys, the future. Keys and values are fp32, attention is plain; slots, sinks, recent window
 * and the order of a step are the library's, so that only the score differs.
 */
class ScoredCache final : public engine::AttentionCache {
 public:
  using MakeScorer = std::function<std::unique_ptr<Scorer>(int32_t layer, int32_t kv_head)>;
  /// Called with every token's attention, averaged over the group, by slot.
  using Observer = std::function<void(int32_t layer, int32_t kv_head, const Token& token, const Head& head,
                                      std::span<const float> weights)>;

  /// @throws Error unless capacity >= sinks + recent window + 1
  ScoredCache(const ScoredConfig& config, const MakeScorer& make_scorer);

  int32_t num_layers() const override { return config_.num_layers; }
  engine::HeadShape head_shape() const override { return config_.shape; }
  int32_t num_sequences() const override { return 1; }
  int64_t max_batch_tokens() const override;
  int32_t tokens_seen(int32_t sequence = 0) const override;
  void decode(int32_t layer, const engine::TokenBatch& batch, const Activations& x) override;
  /// Compresses the prompt at once, whatever the mode: every token attends to all before it, then the slots with the
  /// largest scores go until the rest fits, of those that the next step might evict.
  void prefill(int32_t layer, const engine::TokenBatch& batch, const Activations& x, PrefillMode mode,
               int32_t prefill_window) override;
  void advance(const engine::TokenBatch& batch) override;

  const Head& head(int32_t layer, int32_t kv_head) const { return part(layer, kv_head).head; }
  void set_observer(Observer observer) { observer_ = std::move(observer); }

 private:
  struct Part {
    Head head;
    std::shared_ptr<Scorer> scorer;
  };
  const Part& part(int32_t layer, int32_t kv_head) const;
  Part& part(int32_t layer, int32_t kv_head);
  Token token_of(const engine::TokenBatch& batch, const Activations& x, int32_t kv_head, size_t index) const;
  void step(Part& part, const Token& token);
  void attend(Part& part, int32_t layer, int32_t kv_head, const Token& token, float* out);
  void compress(Part& part, const Token& last);
  bool is_evictable(int32_t position, int32_t newest) const;

  ScoredConfig config_;
  std::vector<Part> parts_;  // [num_layers * num_kv_heads]
  std::vector<float> scores_;
  Observer observer_;
  int32_t tokens_seen_ = 0;
};

}  // namespace hashevict::eval::baselines
