// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_head.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/head.hpp"
#include "cpu/step.hpp"

namespace hashevict::cpu {
namespace {

/// Token `index` alone, with count 0 if the row has no such token.
HeadTokens only(HeadTokens tokens, int32_t index) {
  tokens.count = index < tokens.count ? 1 : 0;
  tokens.first += index;
  tokens.position += index;
  return tokens;
}

/// The attention of a token right after its own step.
AttendItem item_after_step(const HeadTokens& token) {
  return AttendItem{.tokens = token, .length = token.head.length(token.position + 1), .masked = false};
}

/// Places tokens and stores their rows; calls `after(index)` right after each token's step.
template <class After>
void step_tokens(const HeadTokens& tokens, const Scratch& scratch, const After& after) {
  place_tokens(tokens, Choice::rule, scratch, [&](int32_t index, const TakenSlot& taken) {
    store_rows(tokens.head, *tokens.step, tokens.first + index, taken.slot, scratch);
    report(tokens, index, taken);
    after(index);
  });
}

}  // namespace

/// Each head takes its tokens on its own: evict, store, attend, next token.
void CpuBackend::decode_by_heads(const core::Step& step) {
  const core::Layer& layer = storage_.layer(step.layer);
  for_each_head(layer, step.rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
    const HeadTokens tokens = head_tokens(step, layer, static_cast<int32_t>(row), kv_head);
    const Scratch& scratch = workspace_.scratch(worker);
    step_tokens(tokens, scratch, [&](int32_t index) {
      attend_item(item_after_step(only(tokens, index)), workspace_.partials_of_worker(worker), scratch);
    });
  });
}

/// For few heads: token by token, all heads evict, then workers share the splits of all heads.
void CpuBackend::decode_by_splits(const core::Step& step) {
  const core::Layer& layer = storage_.layer(step.layer);
  for (int32_t index = 0; index < longest_row(step); ++index) {
    const auto token = [&](int64_t row, int32_t kv_head) {
      return only(head_tokens(step, layer, static_cast<int32_t>(row), kv_head), index);
    };
    for_each_head(layer, step.rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
      step_tokens(token(row, kv_head), workspace_.scratch(worker), [](int32_t) {});
    });
    attend_items(layer, step.rows, [&](int64_t row, int32_t kv_head, AttendItem& attention) {
      attention = item_after_step(token(row, kv_head));
      return attention.tokens.count > 0;
    });
  }
}

void CpuBackend::decode(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::decode);
  if (!has_tokens(step)) return;
  if (has_enough_heads(storage_.layer(step.layer), step.rows)) {
    decode_by_heads(step);
  } else {
    decode_by_splits(step);
  }
  count_tokens(step, false);
}

}  // namespace hashevict::cpu
