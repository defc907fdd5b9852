// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {

/// Arguments of select_slot(): scores, the range of evictable positions, and the tie rule.
struct SelectSlot {
  const uint32_t* scores;    ///< [num_slots]
  uint32_t* block_maxima;    ///< [num_blocks(num_slots)] of all or of evictable slots; overwritten
  const int32_t* positions;  ///< [num_slots]
  int32_t num_slots;         ///< a multiple of kScanSlots
  PositionRange evictable;
  bool oldest_first;  ///< ties go to the smallest position; else to the lowest slot
};

/// Selects the evictable slot with the largest score, or -1 if no slot is evictable.
int32_t select_slot(const SelectSlot& args);

}  // namespace hashevict::cpu
