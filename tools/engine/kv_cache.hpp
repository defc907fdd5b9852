// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <hashevict/cache.hpp>
#include <span>
#include <vector>

#include "attention_cache.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/**
 * The layer between the decoder and `hashevict::Cache`: it handles shapes, batches and positions of one sequence.
 *
 * A cache whose capacity holds every token never evicts; a bounded one is smaller. The decoder makes the same calls on
 * both.
 */
class KvCache final : public AttentionCache {
 public:
  /// The tensors of a layer's step, valid only during the observer's call; q, k and v are strided.
  struct Observation {
    std::int32_t layer;
    hashevict::Tensor q, k, v, slots, victims;
  };
  /// Called after each layer's step.
  using Observer = std::function<void(const Observation& step)>;

  /// Returns a config for this model: its shape, fp32 storage, preset `paper`. The caller may change it before creating
  /// the cache (policy, hash_bits, dtype, seed, ...).
  /// @param capacity slots per KV head
  static hashevict::Config make_config(const ModelConfig& model, std::int32_t capacity);

  /// @param threads shared with the decoder, unless the config brings its own loop; outlives the cache
  /// @throws hashevict::Error for a config that is not valid
  KvCache(hashevict::Config config, ThreadPool& threads);

  std::int32_t num_layers() const override { return config_.shape.num_layers; }
  HeadShape head_shape() const override {
    return {config_.shape.num_qo_heads, config_.shape.num_kv_heads, config_.shape.head_dim};
  }
  std::int64_t max_batch_tokens() const override { return config_.execution.max_batch_tokens; }
  std::int32_t tokens_seen() const override { return tokens_seen_; }
  /// The config that the cache was created with.
  const hashevict::Config& config() const { return config_; }

  void reset();

  /// Sets the function that is called at every step; an empty one is not called.
  void set_observer(Observer observer) { observer_ = std::move(observer); }

  /// The wrapped cache, for views, statistics, save and load.
  hashevict::Cache& cache() { return cache_; }
  const hashevict::Cache& cache() const { return cache_; }

  /// @name For the decoder: one call of the library each
  /// @{
  void decode(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) override;
  /// One prefill of the library with streamed attention. A decode for one token, and for the rules that the library
  /// refuses it to: those that pin prompts or subtract a prompt's mean.
  void stream(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) override;
  void prefill(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x,
               hashevict::PrefillMode mode, std::int32_t prefill_window) override;
  void advance(std::int32_t num_tokens) override { tokens_seen_ += num_tokens; }
  /// @}

 private:
  /// Sets the arguments that decode and prefill share.
  template <class Args>
  void set_common(Args& args, std::int32_t layer, std::span<const std::int32_t> ids, const Activations& x);
  template <class Args>
  void set_out(Args& args, const Activations& x) const;
  template <class Args>
  void tell_observer(const Args& args) const;

  hashevict::Config config_;
  hashevict::Cache cache_;
  std::int32_t tokens_seen_ = 0;
  std::array<std::int32_t, 2> cu_seqlens_{};  // of the batch
  std::vector<std::int32_t> slots_;           // of the last step that was observed
  std::vector<std::int32_t> victims_;
  Observer observer_;
};

}  // namespace hashevict::engine
