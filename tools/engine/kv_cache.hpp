// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <hashevict/cache.hpp>
#include <span>
#include <vector>

#include "attention_cache.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/**
 * What lies between the decoder and `hashevict::Cache`: shapes, batches and positions.
 *
 * A plain cache is one whose capacity holds every token; a bounded one is smaller. Nothing else differs: the decoder
 * makes the same calls on both.
 */
class KvCache final : public AttentionCache {
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

  std::int32_t num_layers() const override { return config_.num_layers; }
  HeadShape head_shape() const override { return {config_.num_qo_heads, config_.num_kv_heads, config_.head_dim}; }
  std::int32_t num_sequences() const override { return static_cast<std::int32_t>(tokens_seen_.size()); }
  std::int64_t max_batch_tokens() const override { return config_.max_batch_tokens; }
  std::int32_t tokens_seen(std::int32_t sequence = 0) const override;
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

  /// @name For the decoder: one call of the library each
  /// @{
  void decode(std::int32_t layer, const TokenBatch& batch, const Activations& x) override;
  void prefill(std::int32_t layer, const TokenBatch& batch, const Activations& x, hashevict::PrefillMode mode,
               std::int32_t prefill_window) override;
  void advance(const TokenBatch& batch) override;
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
