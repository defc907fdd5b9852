// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/attention.hpp"
#include "reference/head.hpp"
#include "reference/prefill.hpp"

namespace hashevict::reference {

/// Consecutive tokens of one sequence as one layer sees them, row-major.
struct Tokens {
  std::size_t count = 0;
  Vector q;                 ///< [count, num_qo_heads, head_dim]
  Vector k;                 ///< [count, num_kv_heads, head_dim]
  Vector v;                 ///< [count, num_kv_heads, head_dim]
  Vector importance;        ///< [count, num_kv_heads], or empty: 0
  Vector importance_slope;  ///< likewise
};

/// The results of an operation, for each token.
struct Taken {
  std::vector<std::int32_t> slots;    ///< [count, num_kv_heads]
  std::vector<std::int32_t> victims;  ///< [count, num_kv_heads]
  std::vector<Attention> attention;   ///< [count, num_qo_heads]; only of operations that attend
};

/// The keys that a prompt's queries see.
enum class PromptAttention {
  none,      ///< no attention is computed
  streamed,  ///< those that decode() of the query's token would see
  full       ///< all that the sequence held before the call, and those of the call up to the query's own
};

/// All heads of one sequence in one layer.
class Sequence {
 public:
  /// Heads with equal settings.
  explicit Sequence(const Settings& settings);
  /// @param of_heads [num_kv_heads] the settings of each head; only their slots may differ: capacity, sinks, recent
  explicit Sequence(const std::vector<Settings>& of_heads);

  /// Sets the projection of a head.
  void set_projection(std::size_t kv_head, const Projection& projection);
  /// Sets the weights of a head's importances.
  void set_importance_weights(std::size_t kv_head, const Vector& weight, float bias);
  /// Sets the centres: `[num_kv_heads, head_dim]` and `[num_qo_heads, head_dim]`.
  void set_center(const Vector& key_center, const Vector& query_center);

  Taken prefill(const Tokens& tokens, PrefillMode mode, std::int32_t window,
                PromptAttention attention = PromptAttention::none, const AttentionOptions& options = {});
  Taken append(const Tokens& tokens);
  Taken decode(const Tokens& tokens, const AttentionOptions& options);
  /// Attention of n queries at the last n positions, or behind all of them.
  [[nodiscard]] std::vector<Attention> attend(const Tokens& tokens, const AttentionOptions& options,
                                              bool after = false) const;

  [[nodiscard]] const std::vector<Head>& heads() const { return heads_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }

 private:
  [[nodiscard]] Token token(const Tokens& tokens, std::size_t i, std::size_t kv_head) const;
  void center_on(const Tokens& tokens);
  [[nodiscard]] std::vector<Attention> attend_everything(const Tokens& tokens, const AttentionOptions& options) const;

  Settings settings_;  ///< of head 0; its slots are read nowhere here
  std::vector<Head> heads_;
  bool center_set_ = false;
};

/// Row `i` of a matrix whose rows have `width` elements.
Vector row(const Vector& matrix, std::size_t i, std::size_t width);

}  // namespace hashevict::reference
