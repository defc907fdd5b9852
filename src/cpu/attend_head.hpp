// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cpu/batch.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Queries of consecutive tokens that attend over one head's slots.
struct AttendItem {
  HeadTokens tokens;  ///< at most attend_tokens()
  int32_t length;     ///< valid slots
  bool masked;        ///< some valid slots may hold a later position than a query
};

/// Loads the item's queries as fp32 into `scratch`.
void load_queries(const AttendItem& item, const Scratch& scratch);

/// Attends over split `split` of the item and writes `partials` ([splits, partial_floats]). Call load_queries() first.
void attend_item_split(const AttendItem& item, int32_t split, float* partials, const Scratch& scratch);

/// Combines all splits and writes out and lse.
void finish_item(const AttendItem& item, const float* partials, const Scratch& scratch);

/// Attends over all splits on one worker.
void attend_item(const AttendItem& item, float* partials, const Scratch& scratch);

}  // namespace hashevict::cpu
