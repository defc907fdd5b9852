// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "core/step.hpp"
#include "core/storage.hpp"
#include "cpu/head.hpp"

namespace hashevict::cpu {

/// One head of one row: what the loops over a batch hand out.
struct RowHead {
  int32_t row;
  int32_t kv_head;
  int32_t sequence;  ///< -1: skipped
};

inline int64_t num_heads_of(const core::Step& step, const core::Storage& storage) {
  return int64_t{step.rows} * storage.settings.config.num_kv_heads;
}

inline RowHead row_head(const core::Step& step, const core::Storage& storage, int64_t item) {
  const int32_t heads = storage.settings.config.num_kv_heads;
  const auto row = static_cast<int32_t>(item / heads);
  return {row, static_cast<int32_t>(item % heads), step.sequence(row)};
}

/// Writes a token's slot and victim where the caller asked for them.
inline void report(const core::Step& step, int64_t token, int32_t kv_head, const Placement& placement) {
  if (step.slots) std::memcpy(step.slots.at(token, kv_head), &placement.slot, sizeof(int32_t));
  if (step.victims) std::memcpy(step.victims.at(token, kv_head), &placement.victim, sizeof(int32_t));
}

}  // namespace hashevict::cpu
