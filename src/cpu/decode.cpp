// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/attend_head.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/rows.hpp"

namespace hashevict::cpu {
namespace {

/// Attention of one token right after its own step.
AttendItem item_after_step(const Head& head, int64_t token, int32_t position) {
  return AttendItem{.head = head,
                    .first_token = token,
                    .num_tokens = 1,
                    .length = std::min(position + 1, head.shape->capacity),
                    .first_position = position,
                    .masked = false};
}

/// Takes tokens [first, first + count) of a row into one head; `after(token, position)` runs after each one's step.
template <class After>
void step_tokens(const Head& head, const core::Step& step, int64_t first, int32_t count, int32_t position,
                 const Scratch& scratch, const After& after) {
  const bool with_queries = head.settings().uses_queries();
  encode_tokens(head, step, first, count, with_queries, scratch);
  for (int32_t i = 0; i < count; ++i) {
    const Token token = encoded_token(head, position + i, i, with_queries, scratch);
    const Placement placement = place_token(head, token, scratch, Choice::rule);
    store_rows(head, step, first + i, placement.slot, scratch);
    report(step, first + i, head.kv_head, placement);
    after(first + i, position + i);
  }
}

/// Position of token `token` of row `row`, before counters are moved on.
int32_t position_of(const core::Step& step, const core::Storage& storage, const RowHead& at, int64_t token) {
  const int64_t before = storage.layer_state(step.layer).tokens_seen[at.sequence];
  return static_cast<int32_t>(before + (token - step.first_token(at.row)));
}

}  // namespace

/// Each head goes through its tokens on its own: evict, store, attend, next.
void CpuBackend::decode_by_heads(const core::Step& step) {
  executor_.for_each(num_heads_of(step, storage_), [&](int64_t index, int32_t worker) {
    const RowHead at = row_head(step, storage_, index);
    if (at.sequence < 0) return;
    const Head head = make_head(storage_, step.layer, at.sequence, at.kv_head);
    const Scratch scratch = workspace_.scratch(worker);
    for (int64_t first = step.first_token(at.row); first < step.end_token(at.row); first += kEncodeTokens) {
      const auto count = static_cast<int32_t>(std::min<int64_t>(kEncodeTokens, step.end_token(at.row) - first));
      step_tokens(head, step, first, count, position_of(step, storage_, at, first), scratch,
                  [&](int64_t token, int32_t position) {
                    attend_item(item_after_step(head, token, position), step, workspace_.partials(worker), scratch);
                  });
    }
  });
}

/// Few heads for the workers: token by token, all heads evict, then the splits of all heads attend.
void CpuBackend::decode_by_splits(const core::Step& step) {
  int64_t longest = 0;
  for (int32_t row = 0; row < step.rows; ++row) {
    longest = std::max(longest, step.end_token(row) - step.first_token(row));
  }
  for (int64_t i = 0; i < longest; ++i) {
    const auto has_token = [&](const RowHead& at) {
      return at.sequence >= 0 && step.first_token(at.row) + i < step.end_token(at.row);
    };
    executor_.for_each(num_heads_of(step, storage_), [&](int64_t index, int32_t worker) {
      const RowHead at = row_head(step, storage_, index);
      if (!has_token(at)) return;
      const int64_t token = step.first_token(at.row) + i;
      step_tokens(make_head(storage_, step.layer, at.sequence, at.kv_head), step, token, 1,
                  position_of(step, storage_, at, token), workspace_.scratch(worker), [](int64_t, int32_t) {});
    });
    attend_items(step, num_heads_of(step, storage_), [&](int64_t index, AttendItem& item) {
      const RowHead at = row_head(step, storage_, index);
      if (!has_token(at)) return false;
      const int64_t token = step.first_token(at.row) + i;
      item = item_after_step(make_head(storage_, step.layer, at.sequence, at.kv_head), token,
                             position_of(step, storage_, at, token));
      return true;
    });
  }
}

void CpuBackend::decode(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::decode);
  const bool enough_heads = num_heads_of(step, storage_) >= 2 * int64_t{executor_.num_workers()};
  if (enough_heads || executor_.num_workers() == 1) {
    decode_by_heads(step);
  } else {
    decode_by_splits(step);
  }
  count_tokens(step, false);
}

}  // namespace hashevict::cpu
