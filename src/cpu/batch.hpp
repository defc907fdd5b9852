// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/layer.hpp"
#include "core/step.hpp"

namespace hashevict::cpu {

/// Consecutive tokens of one row of a batch, as one head sees them.
struct HeadTokens {
  const core::Step* step;
  core::Head head;
  int64_t first;  ///< in the batch
  int32_t count;  ///< 0 if the row is skipped or empty
  int32_t
      position;  ///< of the first in its sequence; head_tokens() sets the number of tokens that the sequence has seen

  /// Tokens that the sequence will have seen afterwards.
  [[nodiscard]] int32_t end_position() const { return position + count; }
};

/// Stands for no slot, no victim's position or no token's index.
inline constexpr int32_t kNone = -1;

/// The slot that a token took, and the position that it replaced (kNone if the slot was empty).
struct TakenSlot {
  int32_t slot;
  int32_t victim;
};

/// The tokens of a row, for one head.
inline HeadTokens head_tokens(const core::Step& step, const core::Layer& layer, int32_t row, int32_t kv_head) {
  const int32_t sequence = step.sequence(row);
  HeadTokens tokens{.step = &step, .head = {}, .first = step.first_token(row), .count = 0, .position = 0};
  tokens.head.layer = &layer;
  if (sequence < 0) return tokens;
  tokens.head = core::head_of(layer, sequence, kv_head);
  tokens.count = static_cast<int32_t>(step.end_token(row) - step.first_token(row));
  tokens.position = *tokens.head.tokens_seen;
  return tokens;
}

/// Number of tokens in the longest row.
inline int32_t longest_row(const core::Step& step) {
  int64_t longest = 0;
  for (int32_t row = 0; row < step.rows; ++row) {
    longest = std::max(longest, step.end_token(row) - step.first_token(row));
  }
  return static_cast<int32_t>(longest);
}

/// Whether a row brings a token. A batch without any wakes no worker.
inline bool has_tokens(const core::Step& step) {
  for (int32_t row = 0; row < step.rows; ++row) {
    if (step.sequence(row) >= 0 && step.end_token(row) > step.first_token(row)) return true;
  }
  return false;
}

/// Writes the slot and the victim of token `index` to the outputs that the caller asked for.
inline void report(const HeadTokens& tokens, int32_t index, const TakenSlot& taken) {
  const core::Step& step = *tokens.step;
  const int64_t token = tokens.first + index;
  const int32_t kv_head = tokens.head.kv_head;
  if (step.slots) std::memcpy(step.slots.at(token, kv_head), &taken.slot, sizeof(int32_t));
  if (step.victims) std::memcpy(step.victims.at(token, kv_head), &taken.victim, sizeof(int32_t));
}

}  // namespace hashevict::cpu
