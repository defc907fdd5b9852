// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/cpu_backend.hpp"
#include "cpu/rows.hpp"

namespace hashevict::cpu {
namespace {

/// Takes all tokens of one row into one head.
void take_row(const Head& head, const core::Step& step, int32_t row, bool store, const Scratch& scratch) {
  const bool with_queries = head.settings().uses_queries();
  const int32_t before = head.storage->layer_state(step.layer).tokens_seen[head.sequence];
  const int64_t end = step.end_token(row);
  for (int64_t first = step.first_token(row); first < end; first += kEncodeTokens) {
    const auto count = static_cast<int32_t>(std::min<int64_t>(kEncodeTokens, end - first));
    encode_tokens(head, step, first, count, with_queries, scratch);
    for (int32_t i = 0; i < count; ++i) {
      const auto position = static_cast<int32_t>(before + (first - step.first_token(row)) + i);
      const Token token = encoded_token(head, position, i, with_queries, scratch);
      const Placement placement = place_token(head, token, scratch, Choice::rule);
      if (store) store_rows(head, step, first + i, placement.slot, scratch);
      report(step, first + i, head.kv_head, placement);
    }
  }
}

}  // namespace

void CpuBackend::take_tokens(const core::Step& step, bool store) {
  executor_.for_each(num_heads_of(step, storage_), [&](int64_t item, int32_t worker) {
    const RowHead at = row_head(step, storage_, item);
    if (at.sequence < 0) return;
    const Head head = make_head(storage_, step.layer, at.sequence, at.kv_head);
    take_row(head, step, at.row, store, workspace_.scratch(worker));
  });
  count_tokens(step, false);
}

void CpuBackend::evict(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::evict);
  take_tokens(step, false);
}

void CpuBackend::append(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::append);
  take_tokens(step, true);
}

}  // namespace hashevict::cpu
