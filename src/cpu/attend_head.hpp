// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/step.hpp"
#include "cpu/head.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Queries of consecutive tokens of one row that attend over one head's slots.
struct AttendItem {
  Head head;
  int64_t first_token;     ///< in the batch
  int32_t num_tokens;      ///< at most attend_tokens()
  int32_t length;          ///< valid slots
  int32_t first_position;  ///< of the first query token
  bool masked;             ///< some valid slots may lie behind a query's position
};

/// Splits that `length` slots make.
constexpr int32_t num_splits(int32_t length) {
  return (length + kSplitSlots - 1) / kSplitSlots;
}

/// Loads the item's queries as fp32 into `scratch`.
void load_queries(const AttendItem& item, const core::Step& step, const Scratch& scratch);

/// Computes split `split` of the item into `partials` ([splits, partial_floats]); load_queries() came before.
void attend_item_split(const AttendItem& item, const core::Step& step, int32_t split, float* partials,
                       const Scratch& scratch);

/// Combines all splits and writes out and lse.
void finish_item(const AttendItem& item, const core::Step& step, const float* partials, const Scratch& scratch);

/// All of it, on one worker.
void attend_item(const AttendItem& item, const core::Step& step, float* partials, const Scratch& scratch);

}  // namespace hashevict::cpu
