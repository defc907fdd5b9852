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

/// The tokens whose logits a call computes.
enum class Logits {
  none,
  last,  ///< of the last token: `[vocab_size]`
  all    ///< of every token: `[tokens, vocab_size]`
};

/// Options of a prompt longer than the capacity, see `hashevict_prefill_mode`.
struct PrefillOptions {
  hashevict::PrefillMode mode = hashevict::PrefillMode::replay;
  std::int32_t window = 32;
};

/**
 * Runs a model on one sequence, over a cache, in one of two ways:
 *  - stream(): every token is one decode step, prompt tokens included; later tokens see only the cached ones.
 *    A call with several tokens does the same up to rounding, and is many times faster: each layer reads its weights
 *    once for all of them, and the cache takes them in one pass.
 *  - prefill(): full causal attention over the prompt; the cache then keeps the tokens that its rule selects.
 *
 * Not thread-safe; several decoders may share a model. If a call throws, reset the cache.
 */
class Decoder {
 public:
  /// All arguments outlive the decoder. @throws Error if the cache does not have the model's shape
  Decoder(const Model& model, AttentionCache& cache, ThreadPool& threads);

  /// Takes the tokens as one decode step each. @return the requested logits, all finite, valid until the next call.
  /// @throws Error for no token, one out of range, or more than `max_batch_tokens`; invalid_data if the model's numbers
  /// overflow
  std::span<const float> stream(std::span<const std::int32_t> tokens, Logits wanted);

  /// Prefills an empty cache with a whole prompt. @return as stream(). @throws Error
  std::span<const float> prefill(std::span<const std::int32_t> tokens, const PrefillOptions& options, Logits wanted);

  const Model& model() const { return model_; }
  AttentionCache& cache() { return cache_; }

 private:
  template <class Attention>
  std::span<const float> run(std::span<const std::int32_t> tokens, Logits wanted, const Attention& attend);
  void validate(std::span<const std::int32_t> tokens) const;
  void prepare(std::span<const std::int32_t> tokens);
  /// hidden -> normed
  void norm(const std::vector<float>& weights);
  void project_inputs(const LayerWeights& layer);
  /// Adds the product with `mixed_` to the residual stream.
  void add_product(const PackedMatrix& weights);
  void add_mlp(const LayerWeights& layer);
  AttentionCache::Activations activations();
  [[noreturn]] void refuse_overflow(const char* what, std::span<const std::int32_t> tokens, std::int64_t t) const;
  void require_finite_states(std::span<const std::int32_t> tokens) const;
  std::span<const float> compute_logits(std::span<const std::int32_t> tokens, Logits wanted);
  template <class Body>
  void for_each_token(const Body& body);

  const Model& model_;
  AttentionCache& cache_;
  ThreadPool& threads_;
  PromptAttention prompt_attention_;
  std::int64_t num_tokens_ = 0;   // of the batch: the leading extent of the buffers below
  std::vector<float> hidden_;     // [tokens, hidden_size]: the residual stream
  std::vector<float> normed_;     // [tokens, hidden_size]
  std::vector<float> projected_;  // [tokens, q | k | v] or [tokens, gate | up]
  std::vector<float> mixed_;      // [tokens, num_qo_heads * head_dim] or [tokens, intermediate_size]
  std::vector<float> rope_;       // [tokens, cosines | sines]
  std::vector<float> logits_;
};

}  // namespace hashevict::engine
