// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/num_parts.hpp"
#include "core/rule.hpp"

namespace hashevict::cpu {

/// Slots are scanned in multiples of this number; a head's arrays are padded to it.
inline constexpr int32_t kScanSlots = 64;
/// Slots of one block, whose largest score is kept: its codes, positions and scores fit the first-level cache.
inline constexpr int32_t kBlockSlots = 1024;

/// Number of blocks of `num_slots` slots; the last one may be shorter.
constexpr int32_t num_blocks(int32_t num_slots) {
  return core::num_parts(num_slots, kBlockSlots);
}

/// Positions that may be evicted: first <= position < end. An empty range has end <= first.
struct PositionRange {
  int32_t first, end;
};

/// Arguments of score_slots(): one head's slots at one step.
struct ScanSlots {
  core::RuleKind rule;
  core::StepFacts facts;
  const uint8_t* codes;            ///< [num_slots, code_bytes]
  const int32_t* positions;        ///< [num_slots]
  uint8_t* accumulators;           ///< [num_slots] of the rule's type, updated
  const float* importances;        ///< [num_slots], or nullptr: the rule needs none
  const float* importance_slopes;  ///< likewise; nullptr: 0
  int32_t num_slots;               ///< a multiple of kScanSlots
  int32_t code_bytes;
  const uint8_t* probes;  ///< [num_probes, code_bytes]
  int32_t num_probes;
  uint32_t* scores;        ///< [num_slots], written
  uint32_t* block_maxima;  ///< [num_blocks(num_slots)], written: the largest score of each block
  PositionRange evictable;
  bool many_protected;  ///< so that block_maxima look at evictable slots alone; else no position is read for them
};

/// Sums each slot's distances to the probes, updates its accumulator and computes its score by the rule.
void score_slots(const ScanSlots& args);

/// Computes the largest score of each block alone.
void find_block_maxima(const uint32_t* scores, int32_t num_slots, uint32_t* block_maxima);

/// Computes Hamming distances alone: distances[j] = sum over probes of popcount(probe ^ code_j).
void hamming_distances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                       int32_t num_probes, uint32_t* distances);

}  // namespace hashevict::cpu
