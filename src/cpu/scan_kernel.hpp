// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"

namespace hashevict::cpu {

/// Slots are scanned in multiples of this; arrays of a head are padded to it.
inline constexpr int32_t kScanSlots = 64;

/// One head's slots at one step.
struct ScanSlots {
  const hashevict_config* config;  ///< names the rule
  core::StepFacts facts;
  const uint8_t* codes;      ///< [num_slots, code_bytes]
  const int32_t* positions;  ///< [num_slots]
  uint8_t* accumulators;     ///< [num_slots] of the rule's type, updated
  int32_t num_slots;         ///< a multiple of kScanSlots
  int32_t code_bytes;
  const uint8_t* probes;  ///< [num_probes, code_bytes]
  int32_t num_probes;
  uint32_t* scores;     ///< [num_slots], written
  bool many_protected;  ///< as in SelectSlot: positions are fetched into the cache on the way
};

/// Scores every slot with the config's rule: distances to the probes, summed; accumulators; score.
void score_slots(const ScanSlots& args);

/// Sums of Hamming distances alone: distances[j] = sum over probes of popcount(probe ^ code_j).
void hamming_distances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                       int32_t num_probes, uint32_t* distances);

/// Which slots may go, and which of equals does.
struct SelectSlot {
  const uint32_t* scores;    ///< [num_slots]
  const int32_t* positions;  ///< [num_slots]
  int32_t num_slots;         ///< a multiple of kScanSlots
  int32_t first_position;    ///< evictable: first_position <= position < end_position
  int32_t end_position;
  bool oldest_first;    ///< among equals the smallest position; else the lowest slot
  bool many_protected;  ///< many slots may not go, so that the largest score is often one of theirs: speed alone
};

/// Slot with the largest score among the evictable, or -1 if none is.
int32_t select_slot(const SelectSlot& args);

}  // namespace hashevict::cpu
