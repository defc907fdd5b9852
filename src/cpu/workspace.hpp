// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"
#include "core/settings.hpp"

namespace hashevict::cpu {

/// Tokens whose codes are computed together, so that the projection is read once for several rows.
inline constexpr int32_t kEncodeTokens = 16;
/// Slots of one split of attention. Fixed, so that results depend on a head's own length alone.
inline constexpr int32_t kSplitSlots = 1024;

/// Query tokens of a row that attend together.
int32_t attend_tokens(const core::Settings& settings);

/// What one worker needs while it works on one head.
struct Scratch {
  uint32_t* scores;           ///< [padded capacity + max_batch_tokens]
  int32_t* sources;           ///< [capacity]: token a slot will be gathered from
  float* rows;                ///< [kEncodeTokens, 1 + group, head_dim]: a token's key, then its queries
  float* centered;            ///< like rows
  float* vector;              ///< [head_dim]
  uint8_t* codes;             ///< [kEncodeTokens, 1 + group, code_bytes]
  uint8_t* probe;             ///< [code_bytes]
  float* attend_queries;      ///< [attend_tokens, group, head_dim]
  float* attend_out;          ///< [attend_tokens, group, head_dim]
  float* attend_lse;          ///< [attend_tokens, group]
  int32_t* attend_positions;  ///< [attend_tokens, group]
  float* attend_kernel;       ///< of attend_split()
};

/// What WINDOW and RECENT need to choose survivors of one prompt and head.
struct SelectScratch {
  uint8_t* codes;          ///< [capacity + max_batch_tokens, code_bytes] of all candidates
  uint8_t* query_codes;    ///< [capacity, group, code_bytes] of the last queries
  uint64_t* order;         ///< [capacity + max_batch_tokens]
  core::NewToken* starts;  ///< [capacity + max_batch_tokens] what accumulators start from
};

/// The workspace memory, cut into parts.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const core::Settings& settings, void* memory);

  [[nodiscard]] Scratch scratch(int32_t worker) const;
  [[nodiscard]] SelectScratch select_scratch(int32_t worker) const;
  /// Partial results of attention: one area per worker and once more, `[splits, partial_floats]` each.
  [[nodiscard]] float* partials(int64_t area) const;
  /// num_sequences bytes for validation.
  [[nodiscard]] uint8_t* seen() const;

  static uint64_t bytes(const core::Settings& settings);

 private:
  /// Offsets of the parts, in bytes.
  struct Layout {
    // Within one worker's part.
    uint64_t scores, sources, rows, centered, vector, codes, probe;
    uint64_t attend_queries, attend_out, attend_lse, attend_positions, attend_kernel;
    uint64_t select_codes, select_query_codes, select_order, select_starts;
    uint64_t worker_bytes;
    // Within the whole.
    uint64_t partials, partial_area_bytes, seen, total;
  };
  static Layout lay_out(const core::Settings& settings);

  Layout layout_{};
  unsigned char* memory_ = nullptr;
};

}  // namespace hashevict::cpu
