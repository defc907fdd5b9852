// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <hashevict/cache.hpp>
#include <span>
#include <vector>

#include "config.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/// Tokens of several sequences, back to back, row by row. Views of the caller's memory.
struct TokenBatch {
  std::span<const std::int32_t> tokens;      ///< `[tokens]`
  std::span<const std::int32_t> sequences;   ///< `[rows]`: the cache sequence of each row, each at most once
  std::span<const std::int32_t> cu_seqlens;  ///< `[rows + 1]`: token offsets, first 0, last the number of tokens
};

/**
 * What lies between the decoder and `hashevict::Cache`: shapes, batches and positions.
 *
 * A plain cache is one whose capacity holds every token; a bounded one is smaller. Nothing else differs: the decoder
 * makes the same calls on both.
 */
class KvCache {
 public:
  /// Called after a layer has taken a batch in. All tensors of the step are filled, `slots` and `victims` included;
  /// they are valid during the call only, and q, k and v are strided. `out` is absent after prefill.
  using Observer = std::function<void(const hashevict::Step& step)>;

  /// A config for this model: shape fields filled, fp32 storage, preset `paper`. Change what you like before you create
  /// the cache (policy, hash_bits, dtype, seed, ...).
  /// @param capacity slots per KV head
  static hashevict::Config make_config(const ModelConfig& model, std::int32_t capacity, std::int32_t num_sequences = 1);

  /// @param threads shared with the decoder, unless the config brings its own loop; outlives the cache
  /// @throws hashevict::Error for a config that is not valid
  KvCache(hashevict::Config config, ThreadPool& threads);

  /// Tokens the sequence has taken in, which is the position of its next one.
  std::int32_t tokens_seen(std::int32_t sequence = 0) const;
  std::int32_t num_sequences() const { return static_cast<std::int32_t>(tokens_seen_.size()); }
  /// Most tokens that one call of the decoder may bring.
  std::int64_t max_batch_tokens() const { return config_.max_batch_tokens; }
  /// What it was created with.
  const hashevict::Config& config() const { return config_; }

  void reset();
  void reset(std::int32_t sequence);
  /// Makes `target` a copy of `source`.
  void fork(std::int32_t source, std::int32_t target);

  /// Watches every step from now on; an empty function ends it.
  void set_observer(Observer observer) { observer_ = std::move(observer); }

  /// The cache itself: views, statistics, save and load.
  hashevict::Cache& cache() { return cache_; }
  const hashevict::Cache& cache() const { return cache_; }

  /// @name For the decoder
  /// @{
  /// q `[tokens, num_qo_heads, head_dim]`, k and v `[tokens, num_kv_heads, head_dim]`, fp32, RoPE applied, tokens
  /// `token_stride` elements apart; out like q, but dense.
  struct Activations {
    const float* q;
    const float* k;
    const float* v;
    std::int64_t token_stride;
    float* out;
  };
  /// One decode step a token, in the layer given: one call of the library.
  void decode(std::int32_t layer, const TokenBatch& batch, const Activations& x);
  /// Takes whole prompts in, in the layer given, without attention.
  void prefill(std::int32_t layer, const TokenBatch& batch, const Activations& x, hashevict::PrefillMode mode,
               std::int32_t prefill_window);
  /// Moves the positions on, after the last layer.
  void advance(const TokenBatch& batch);
  /// @}

 private:
  hashevict::Step make_step(std::int32_t layer, const TokenBatch& batch, const Activations& x);

  hashevict::Config config_;
  hashevict::Cache cache_;
  std::vector<std::int32_t> tokens_seen_;  // per sequence
  std::vector<std::int32_t> slots_;        // of the last step that was observed
  std::vector<std::int32_t> victims_;
  Observer observer_;
};

}  // namespace hashevict::engine
