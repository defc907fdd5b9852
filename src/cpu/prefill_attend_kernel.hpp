// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/settings.hpp"

/// \file
/// Attention of a tile of a prompt's queries over rows of keys and values, block by block, with an online softmax.
///
/// Lanes are queries, so that keys and values are read row by row as they lie, and no reduction crosses lanes. Queries
/// are packed into panels of as many as the sums in registers allow; a block's keys and values stay in the first-level
/// cache while all panels use them.
///
/// **Error.** As of attend_split(), except for the order of the sums: a dot is one chain of head_dim products, a
/// weighted sum of values one chain of kPromptKeys within a block, and a chain over the blocks.
namespace hashevict::cpu {

/// Keys of one block.
inline constexpr int32_t kPromptKeys = 64;
/// Queries of a tile are padded to a multiple of this, which every instruction set's panel divides.
inline constexpr int32_t kPromptQueryStep = 48;

/// Query tokens of one tile.
constexpr int32_t prompt_tile_tokens(int32_t group) {
  constexpr int32_t kQueries = 2 * kPromptQueryStep;
  return std::max(1, kQueries / group);
}

/// Queries of a tile, padding included.
constexpr int32_t prompt_tile_queries(int32_t group) {
  return static_cast<int32_t>(core::round_up(int64_t{prompt_tile_tokens(group)} * group, kPromptQueryStep));
}

/// A tile's queries and their results so far, in memory of one worker, aligned to a cache line.
struct PromptTile {
  int32_t num_queries;  ///< tokens of the tile times group; query i belongs to token i / group
  int32_t group;
  int32_t head_dim;
  float logit_soft_cap;  ///< 0: off
  float* queries;        ///< [padded queries * head_dim], packed by start_prompt_tile()
  float* sums;           ///< like queries: the weighted sums of values
  float* maxima;         ///< [padded queries] largest logits
  float* weights;        ///< [padded queries] sums of exp(logit - maximum)
  int32_t* tokens;       ///< [padded queries] token of each query
  float* logits;         ///< [kPromptKeys * kPromptQueryStep] of one panel
};

/// Up to kPromptKeys keys. A query of token t sees key j iff births[j] <= t < deaths[j].
struct PromptBlock {
  int32_t num_keys;
  const float* const* keys;    ///< [kPromptKeys] fp32 rows; those behind num_keys are readable
  const float* const* values;  ///< [num_keys]
  const int32_t* births;       ///< [num_keys]; nullptr: every query sees every key
  const int32_t* deaths;       ///< [num_keys]; nullptr if births is
};

/// Packs the tile's queries and clears its results.
/// @param queries [num_queries, head_dim], dense, scaled
void start_prompt_tile(const PromptTile& tile, const float* queries);

/// Adds a block to the results. Keys that a query does not see contribute nothing, whatever their contents.
void add_prompt_block(const PromptTile& tile, const PromptBlock& block);

/// Normalises the results. A query that saw no key gives zeros and -infinity.
/// @param out [num_queries, head_dim]
/// @param lse [num_queries]
void finish_prompt_tile(const PromptTile& tile, float* out, float* lse);

}  // namespace hashevict::cpu
