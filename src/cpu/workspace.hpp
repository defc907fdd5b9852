// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/settings.hpp"

namespace hashevict::cpu {

/// Tokens that are encoded together, so that the projection is read once for several rows.
inline constexpr int32_t kEncodeTokens = 16;
/// Slots of one split of attention. The size is fixed, so that a head's result depends on its own length alone.
inline constexpr int32_t kSplitSlots = 1024;

/// Number of splits of `length` slots.
constexpr int32_t num_splits(int32_t length) {
  return core::num_parts(length, kSplitSlots);
}

/// Query tokens of a row that attend at once.
int32_t attend_tokens(const core::Shape& shape);

/// The memory of one worker while it works on one head. Sizes are those of the head that needs most.
struct Scratch {
  // A token's step.
  uint32_t* scores;        ///< [padded capacity + max_batch_tokens]
  uint32_t* block_maxima;  ///< [num_blocks(padded capacity)] of scores
  int32_t* sources;        ///< [capacity] the token that a slot will be filled from
  float* rows;             ///< [kEncodeTokens, 1 + group, head_dim] a token's key, then its queries
  float* centered;         ///< like rows
  float* vector;           ///< [head_dim]
  uint8_t* codes;          ///< [kEncodeTokens, 1 + group, code_bytes]
  uint8_t* probe;          ///< [code_bytes]
  // Attention.
  float* attend_queries;      ///< [attend_tokens, group, head_dim]
  float* attend_out;          ///< [attend_tokens, group, head_dim]
  float* attend_lse;          ///< [attend_tokens, group]
  int32_t* attend_positions;  ///< [attend_tokens, group]
  float* attend_kernel;       ///< of attend_split()
  // Attention of a prompt.
  float* prompt_queries;   ///< [padded queries, head_dim] of a tile, see PromptTile
  float* prompt_sums;      ///< likewise
  float* prompt_maxima;    ///< [padded queries]
  float* prompt_weights;   ///< [padded queries]
  int32_t* prompt_tokens;  ///< [padded queries]
  float* prompt_logits;    ///< [kPromptKeys, kPromptQueryStep]
  float* prompt_out;       ///< [padded queries, head_dim] queries, then results, in the caller's order
  float* prompt_lse;       ///< [padded queries]
  float* prompt_rows;      ///< [2, kPromptKeys, head_dim] widened keys and values of a block
  int32_t* prompt_keys;    ///< [padded capacity + max_batch_tokens] the keys that a tile sees
  int32_t* prompt_deaths;  ///< [2, tile tokens] of keys from before the tile, and of its own
  // Survivors of a prompt, in modes WINDOW and RECENT.
  uint8_t* candidate_codes;  ///< [padded capacity + max_batch_tokens, code_bytes]
  uint8_t* window_codes;     ///< [capacity, group, code_bytes] of the last queries
  uint64_t* order;           ///< [padded capacity + max_batch_tokens]
};

/// The workspace memory, divided into parts.
class Workspace {
 public:
  Workspace(const core::Settings& settings, void* memory);

  [[nodiscard]] const Scratch& scratch(int32_t worker) const { return workers_[static_cast<std::size_t>(worker)]; }
  /// Partial results of attention, from split `split` on: those of one head's splits lie side by side. There is room
  /// for the longest head of two per worker.
  [[nodiscard]] float* partials(int64_t split) const { return partials_ + split * split_floats_; }
  /// The same, for the one head that a worker attends over.
  [[nodiscard]] float* partials_of_worker(int32_t worker) const { return partials(int64_t{worker} * most_splits_); }
  /// The slots that the tokens of a batch take in a head of it, from token `first` on.
  [[nodiscard]] int32_t* taken(int32_t kv_head, int64_t first) const {
    return taken_ + int64_t{kv_head} * max_batch_tokens_ + first;
  }
  /// num_sequences bytes for validation.
  [[nodiscard]] uint8_t* seen() const { return seen_; }

  static uint64_t bytes(const core::Settings& settings);

 private:
  std::vector<Scratch> workers_;
  float* partials_;
  int64_t split_floats_;
  int32_t most_splits_;
  int32_t* taken_;
  int64_t max_batch_tokens_;
  uint8_t* seen_;
  uint64_t bytes_;
};

}  // namespace hashevict::cpu
