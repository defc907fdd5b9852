// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv_cache.hpp"
#include "model.hpp"
#include "prompt_attention.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/// Which tokens' logits a call computes.
enum class Logits {
  none,
  last,  ///< of each row's last token: `[rows, vocab_size]`
  all    ///< of every token: `[tokens, vocab_size]`
};

/// How a prompt longer than the capacity is reduced, see `hashevict_prefill_mode`.
struct PrefillOptions {
  hashevict::PrefillMode mode = hashevict::PrefillMode::replay;
  std::int32_t window = 32;
};

/**
 * Runs a model over a cache. There are two ways in:
 *  - stream(): every token is one decode step, prompt tokens included; what comes later sees only what the cache kept.
 *    Several tokens a call give exactly what one call a token gives, bit for bit, and are several times faster, because
 *    the matrix products are shared: each layer makes one product for all tokens and one `decode` of the cache.
 *  - prefill(): full causal attention over the prompt, after which the cache keeps what it has room for.
 *
 * Not thread-safe; several decoders may share a model. If a call throws, reset the sequences it spoke of.
 */
class Decoder {
 public:
  /// Everything given outlives the decoder. @throws Error if the cache is not of the model's shape
  Decoder(const Model& model, AttentionCache& cache, ThreadPool& threads);

  /// Takes the batch token by token. @return logits as asked for, valid until the next call.
  /// @throws Error for tokens or sequences out of range, or more than `max_batch_tokens`
  std::span<const float> stream(const TokenBatch& batch, Logits wanted);

  /// The same for one sequence.
  std::span<const float> stream(std::span<const std::int32_t> tokens, Logits wanted, std::int32_t sequence = 0);

  /// Takes whole prompts, of sequences that are empty. @return as stream(). @throws Error
  std::span<const float> prefill(const TokenBatch& batch, const PrefillOptions& options, Logits wanted);

  /// The same for one sequence.
  std::span<const float> prefill(std::span<const std::int32_t> tokens, const PrefillOptions& options, Logits wanted,
                                 std::int32_t sequence = 0);

  const Model& model() const { return model_; }
  AttentionCache& cache() { return cache_; }

 private:
  template <class Attention>
  std::span<const float> run(const TokenBatch& batch, Logits wanted, const Attention& attend);
  void validate(const TokenBatch& batch) const;
  void prepare(const TokenBatch& batch);
  void project_inputs(const LayerWeights& layer);
  void add_attention(const LayerWeights& layer);
  void add_mlp(const LayerWeights& layer);
  AttentionCache::Activations activations();
  std::span<const float> compute_logits(const TokenBatch& batch, Logits wanted);
  template <class Body>
  void for_each_token(const Body& body);

  const Model& model_;
  AttentionCache& cache_;
  ThreadPool& threads_;
  PromptAttention prompt_attention_;
  std::int64_t num_tokens_ = 0;   // of the batch at hand, as the leading extent of all that follows
  std::vector<float> hidden_;     // [tokens, hidden_size]: the residual stream
  std::vector<float> normed_;     // [tokens, hidden_size]
  std::vector<float> projected_;  // [tokens, q | k | v] or [tokens, gate | up]
  std::vector<float> mixed_;      // [tokens, num_qo_heads * head_dim] or [tokens, intermediate_size]
  std::vector<float> rope_;       // [tokens, cosines | sines]
  std::vector<float> logits_;
};

}  // namespace hashevict::engine
