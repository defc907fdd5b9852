// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/attend_head.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/rows.hpp"

namespace hashevict::cpu {
namespace {

/// Blocks of query tokens that a row makes; at least 1, so that items can be numbered by the longest row.
int32_t num_blocks(const core::Step& step, const core::Settings& settings) {
  int64_t longest = 1;
  for (int32_t row = 0; row < step.rows; ++row) {
    longest = std::max(longest, step.end_token(row) - step.first_token(row));
  }
  return static_cast<int32_t>((longest + attend_tokens(settings) - 1) / attend_tokens(settings));
}

}  // namespace

void CpuBackend::attend(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::attend);
  const int32_t blocks = num_blocks(step, storage_.settings);
  attend_items(step, num_heads_of(step, storage_) * blocks, [&](int64_t index, AttendItem& item) {
    const RowHead at = row_head(step, storage_, index / blocks);
    const int64_t first = step.first_token(at.row) + (index % blocks) * attend_tokens(storage_.settings);
    const int64_t end = step.end_token(at.row);
    if (at.sequence < 0 || first >= end) return false;
    const core::LayerState& state = storage_.layer_state(step.layer);
    const int32_t seen = state.tokens_seen[at.sequence];
    item.head = make_head(storage_, step.layer, at.sequence, at.kv_head);
    item.first_token = first;
    item.num_tokens = static_cast<int32_t>(std::min<int64_t>(attend_tokens(storage_.settings), end - first));
    item.length = state.lengths[at.sequence];
    item.first_position = static_cast<int32_t>(seen - (end - first));
    item.masked = item.first_position < seen - 1;
    return true;
  });
}

}  // namespace hashevict::cpu
