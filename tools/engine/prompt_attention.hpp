// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "attention_cache.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/**
 * Causal attention of a whole prompt over itself, without a cache: multiplies blocks of queries by blocks of keys and
 * carries the softmax from block to block. Scores are scaled by `1 / sqrt(head_dim)`.
 */
class PromptAttention {
 public:
  explicit PromptAttention(const HeadShape& shape) : shape_(shape) {}

  /// q `[tokens, num_qo_heads, head_dim]`, k and v `[tokens, num_kv_heads, head_dim]`, tokens `token_stride` elements
  /// apart; out `[tokens, num_qo_heads, head_dim]`, dense.
  void compute(const float* q, const float* k, const float* v, std::int64_t token_stride, std::int64_t num_tokens,
               float* out, ThreadPool& threads);

 private:
  struct Prompt;
  void pack(const Prompt& prompt, std::int64_t kv_head);
  void attend(const Prompt& prompt, std::int64_t qo_head, std::int64_t first_query) const;

  HeadShape shape_;
  std::int64_t value_width_ = 0;     // head_dim rounded up to whole panels
  std::int64_t key_capacity_ = 0;    // tokens rounded up likewise
  std::vector<float> key_panels_;    // [num_kv_heads][tokens / 16][head_dim][16]
  std::vector<float> value_panels_;  // [num_kv_heads][head_dim / 16][tokens][16]
};

}  // namespace hashevict::engine
