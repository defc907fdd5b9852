// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>
#include <span>

#include "config.hpp"

namespace hashevict::engine {

/// Tokens of several sequences, back to back, row by row. Views of the caller's memory.
struct TokenBatch {
  std::span<const std::int32_t> tokens;      ///< `[tokens]`
  std::span<const std::int32_t> sequences;   ///< `[rows]`: the cache sequence of each row, each at most once
  std::span<const std::int32_t> cu_seqlens;  ///< `[rows + 1]`: token offsets, first 0, last the number of tokens
};

/// Heads of an attention layer.
struct HeadShape {
  std::int64_t num_qo_heads;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;

  bool operator==(const HeadShape&) const = default;
};

/**
 * What a decoder needs of a cache: it takes the keys and values of a layer in and gives attention over what it holds.
 * KvCache is the one over the library; others serve to compare with it. One call a layer and batch.
 */
class AttentionCache {
 public:
  /// q `[tokens, num_qo_heads, head_dim]`, k and v `[tokens, num_kv_heads, head_dim]`, fp32, RoPE applied, tokens
  /// `token_stride` elements apart; out like q, but dense.
  struct Activations {
    const float* q;
    const float* k;
    const float* v;
    std::int64_t token_stride;
    float* out;
  };

  virtual ~AttentionCache() = default;

  virtual std::int32_t num_layers() const = 0;
  virtual HeadShape head_shape() const = 0;
  virtual std::int32_t num_sequences() const = 0;
  /// Most tokens that one call may bring.
  virtual std::int64_t max_batch_tokens() const = 0;
  /// Tokens the sequence has taken in, which is the position of its next one.
  virtual std::int32_t tokens_seen(std::int32_t sequence = 0) const = 0;

  /// One decode step a token, in the layer given: takes it in, then attends.
  virtual void decode(std::int32_t layer, const TokenBatch& batch, const Activations& x) = 0;
  /// Takes whole prompts in, in the layer given, without attention. Reads no `out`.
  virtual void prefill(std::int32_t layer, const TokenBatch& batch, const Activations& x, hashevict::PrefillMode mode,
                       std::int32_t prefill_window) = 0;
  /// Moves the positions on, after the last layer.
  virtual void advance(const TokenBatch& batch) = 0;

 protected:
  AttentionCache() = default;
  AttentionCache(const AttentionCache&) = default;
  AttentionCache& operator=(const AttentionCache&) = default;
  AttentionCache(AttentionCache&&) = default;
  AttentionCache& operator=(AttentionCache&&) = default;
};

}  // namespace hashevict::engine
