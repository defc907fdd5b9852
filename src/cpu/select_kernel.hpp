// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {

/// Arguments of select_slot(): scores, the range of evictable positions, and the tie rule.
struct SelectSlot {
  const uint32_t* scores;    ///< [num_slots]
  const int32_t* positions;  ///< [num_slots]
  int32_t num_slots;         ///< a multiple of kScanSlots
  int32_t first_position;    ///< evictable: first_position <= position < end_position
  int32_t end_position;
  bool oldest_first;    ///< ties go to the smallest position; else to the lowest slot
  bool many_protected;  ///< the largest score often belongs to a protected slot; a hint that affects speed alone
};

/// Selects the evictable slot with the largest score, or -1 if no slot is evictable.
int32_t select_slot(const SelectSlot& args);

}  // namespace hashevict::cpu
