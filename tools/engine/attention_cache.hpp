// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>
#include <span>

#include "config.hpp"

namespace hashevict::engine {

/// Heads of an attention layer.
struct HeadShape {
  std::int64_t num_qo_heads;
  std::int64_t num_kv_heads;
  std::int64_t head_dim;

  bool operator==(const HeadShape&) const = default;
};

/**
 * The decoder's interface to a cache of one sequence, which stores keys and values of a layer and attends over all
 * cached tokens. KvCache wraps the library; other implementations serve comparisons. One call a layer and batch.
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
  /// The most tokens that one call may bring.
  virtual std::int64_t max_batch_tokens() const = 0;
  /// The number of tokens seen: the position of the next one.
  virtual std::int32_t tokens_seen() const = 0;

  /// Runs one decode step a token in one layer: stores the token, then attends.
  virtual void decode(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) = 0;
  /// Does in one pass over the tokens what decode() does: the same slots and victims for the same tensors, and `out` up
  /// to rounding. A cache that cannot does it by decode().
  virtual void stream(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) {
    decode(layer, tokens, x);
  }
  /// Stores a whole prompt in one layer, without attention. Ignores `out`.
  virtual void prefill(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x,
                       hashevict::PrefillMode mode, std::int32_t prefill_window) = 0;
  /// Advances the position. Called after the last layer.
  virtual void advance(std::int32_t num_tokens) = 0;

 protected:
  AttentionCache() = default;
  AttentionCache(const AttentionCache&) = default;
  AttentionCache& operator=(const AttentionCache&) = default;
  AttentionCache(AttentionCache&&) = default;
  AttentionCache& operator=(AttentionCache&&) = default;
};

}  // namespace hashevict::engine
