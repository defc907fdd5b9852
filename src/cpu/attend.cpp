// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/attend_head.hpp"
#include "cpu/batch.hpp"
#include "cpu/cpu_backend.hpp"

namespace hashevict::cpu {
namespace {

/// Sets up the next query tokens of one head, from `first` on and at most `most` of them; returns false if none are
/// left.
bool make_item(const HeadTokens& all, int32_t first, int32_t most, AttendItem& item) {
  if (first >= all.count) return false;
  const int32_t seen = all.position;  // the row's tokens are the last ones that the sequence has seen
  const core::Head& head = all.head;
  item.tokens = all;
  item.tokens.first += first;
  item.tokens.count = std::min(most, all.count - first);
  item.tokens.position = seen - (all.count - first);
  item.length = *head.lengths;
  item.masked = all.step->attend_queries == HASHEVICT_QUERIES_LAST && item.tokens.position < seen - 1;
  return true;
}

}  // namespace

void CpuBackend::attend(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::attend);
  const core::Layer& layer = storage_.layer(step.layer);
  const int32_t most = attend_tokens(layer.shape);
  const int64_t items_per_head = std::max<int64_t>((int64_t{longest_row(step)} + most - 1) / most, 1);
  attend_items(layer, step.rows * items_per_head, [&](int64_t index, int32_t kv_head, AttendItem& item) {
    const auto first = static_cast<int32_t>(index % items_per_head) * most;
    const auto row = static_cast<int32_t>(index / items_per_head);
    return make_item(head_tokens(step, layer, row, kv_head), first, most, item);
  });
}

}  // namespace hashevict::cpu
