// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/attention_cache.hpp"
#include "scorer.hpp"

namespace hashevict::lab::baselines {

/// Shape of a ScoredCache, which holds one sequence.
struct ScoredConfig {
  int32_t num_layers = 0;
  engine::HeadShape shape{};
  int32_t capacity = 0;    ///< slots per KV head
  int32_t max_tokens = 0;  ///< of a prompt, which is held as a whole before it is compressed
  int32_t num_sink_tokens = 0;
  int32_t recent_window = 0;  ///< as in hashevict::Config: the last tokens that are never evicted, besides the new one
};

/**
 * A bounded cache in which a Scorer per head selects victims, for policies that need data which the library never
 * computes: attention weights, exact keys. Keys and values are fp32, attention is plain; slots, sinks, recent window
 * and the order of a step are the library's, so that only the score differs.
 */
class ScoredCache final : public engine::AttentionCache {
 public:
  using MakeScorer = std::function<std::unique_ptr<Scorer>()>;

  /// @throws Error unless capacity >= sinks + recent window + 1
  ScoredCache(const ScoredConfig& config, const MakeScorer& make_scorer);

  int32_t num_layers() const override { return config_.num_layers; }
  engine::HeadShape head_shape() const override { return config_.shape; }
  int64_t max_batch_tokens() const override;
  int32_t tokens_seen() const override { return tokens_seen_; }
  void decode(int32_t layer, std::span<const int32_t> tokens, const Activations& x) override;
  /// Compresses the prompt at once, in every mode: every token attends to all before it. Then, of the slots that the
  /// next step could evict, those with the largest scores are dropped until the rest fits.
  void prefill(int32_t layer, std::span<const int32_t> tokens, const Activations& x, PrefillMode mode,
               int32_t prefill_window) override;
  void advance(int32_t num_tokens) override { tokens_seen_ += num_tokens; }

  const Head& head(int32_t layer, int32_t kv_head) const { return parts_[index_of(layer, kv_head)].head; }

 private:
  struct Part {
    Head head;
    std::shared_ptr<Scorer> scorer;
  };
  size_t index_of(int32_t layer, int32_t kv_head) const {
    return static_cast<size_t>(layer * config_.shape.num_kv_heads + kv_head);
  }
  Part& part(int32_t layer, int32_t kv_head) { return parts_[index_of(layer, kv_head)]; }
  Token token_of(std::span<const int32_t> tokens, const Activations& x, int32_t kv_head, size_t index) const;
  void step(Part& part, const Token& token);
  static void attend(Part& part, const Token& token, float* out);
  void compress(Part& part, const Token& last);
  bool is_evictable(int32_t position, int32_t newest) const;

  ScoredConfig config_;
  std::vector<Part> parts_;  // [num_layers * num_kv_heads]
  std::vector<float> scores_;
  int32_t tokens_seen_ = 0;
};

}  // namespace hashevict::lab::baselines
