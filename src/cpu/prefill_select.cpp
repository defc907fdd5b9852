// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/query_window.hpp"
#include "core/settings.hpp"
#include "cpu/convert.hpp"
#include "cpu/head.hpp"
#include "cpu/prefill_head.hpp"
#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {
namespace {

bool by_queries(const HeadTokens& prompt) {
  return prompt.step->prefill_mode == HASHEVICT_PREFILL_WINDOW;
}

int32_t padded(int32_t num_slots) {
  return static_cast<int32_t>(core::round_up(num_slots, kScanSlots));
}

/// Encodes all candidates by position: first the cached ones (nothing was evicted, so slot = position), then the new
/// tokens. Also adds the keys to their sum and keeps the codes of the last queries.
void encode_candidates(const HeadTokens& prompt, const Scratch& scratch) {
  const Head& head = prompt.head;
  const core::RuleSettings& rule = head.layer->rule;
  const int64_t bytes = rule.code_bytes;
  const int64_t query_bytes = bytes * head.layer->shape.group_size;
  const int32_t window_start = prompt.count - core::query_window(*prompt.step, head);
  const bool scored_by_query = by_queries(prompt);
  const bool with_queries = scored_by_query || rule.facts.needs_queries;
  std::memcpy(scratch.candidate_codes, head.codes, static_cast<std::size_t>(prompt.position * bytes));
  for_each_token(prompt, with_queries, scratch, [&](int32_t index, const Token& token) {
    std::memcpy(scratch.candidate_codes + token.position * bytes, token.key_code, static_cast<std::size_t>(bytes));
    add_key(head, token.key);
    if (scored_by_query && index >= window_start) {
      std::memcpy(scratch.window_codes + (index - window_start) * query_bytes, token.query_codes,
                  static_cast<std::size_t>(query_bytes));
    }
    report(prompt, index, {kNone, kNone});
  });
}

/// Writes the positions nearest to the last queries, ascending, to scratch.order[sinks .. sinks + num_scored).
/// @param num_candidates positions between the sinks and the window
void choose_nearest(const HeadTokens& prompt, int32_t num_scored, int32_t num_candidates, int32_t window,
                    const Scratch& scratch) {
  const core::Layer& layer = *prompt.head.layer;
  const int32_t sinks = prompt.head.num_sink_tokens;
  hamming_distances(scratch.candidate_codes, layer.rule.code_bytes, padded(prompt.end_position()), scratch.window_codes,
                    window * layer.shape.group_size, scratch.scores);
  uint64_t* const keys = scratch.order + sinks;
  for (int32_t i = 0; i < num_candidates; ++i) {  // nearest first; the newest first among equals
    keys[i] = uint64_t{scratch.scores[sinks + i]} << 32 | ~static_cast<uint32_t>(sinks + i);
  }
  std::nth_element(keys, keys + num_scored, keys + num_candidates);
  for (int32_t i = 0; i < num_scored; ++i) keys[i] = ~static_cast<uint32_t>(keys[i]);
  std::sort(keys, keys + num_scored);
}

/// Writes the positions that stay, ascending, to scratch.order[0 .. capacity): sinks, scored ones, the window.
void choose_survivors(const HeadTokens& prompt, const Scratch& scratch) {
  const Head& head = prompt.head;
  const int32_t capacity = head.capacity;
  const int32_t sinks = head.num_sink_tokens;
  const int32_t total = prompt.end_position();
  const int32_t window = by_queries(prompt) ? core::query_window(*prompt.step, head) : capacity - sinks;
  const int32_t num_scored = capacity - sinks - window;
  if (num_scored > 0) choose_nearest(prompt, num_scored, total - window - sinks, window, scratch);
  std::iota(scratch.order, scratch.order + sinks, uint64_t{0});
  std::iota(scratch.order + capacity - window, scratch.order + capacity, static_cast<uint64_t>(total - window));
}

/// Updates a survivor's accumulator with the later keys of this prompt; it depends on nothing else.
template <class Rule>
void accumulate_later_keys(const HeadTokens& prompt, int32_t position, uint8_t* accumulator, const Scratch& scratch) {
  static_assert(Rule::kProbe == core::Probe::new_key);
  const core::Layer& layer = *prompt.head.layer;
  const int64_t bytes = layer.rule.code_bytes;
  const int32_t first = std::max(position + 1, prompt.position);
  const int32_t count = prompt.end_position() - first;
  if (count == 0) return;
  hamming_distances(scratch.candidate_codes + first * bytes, layer.rule.code_bytes, padded(count),
                    scratch.candidate_codes + position * bytes, 1, scratch.scores);
  core::StepFacts facts = core::step_facts(layer, prompt.head.kv_head, first);
  typename Rule::Accumulator value;
  std::memcpy(&value, accumulator, sizeof value);
  for (int32_t i = 0; i < count; ++i, ++facts.token_position) value = Rule::update(value, scratch.scores[i], facts);
  std::memcpy(accumulator, &value, sizeof value);
}

/// Moves the survivor of `position` to `slot` <= position. Ascending order never overwrites a survivor that is still
/// needed.
void settle(const HeadTokens& prompt, int32_t slot, int32_t position, const Scratch& scratch) {
  const Head& head = prompt.head;
  const core::RuleSettings& rule = head.layer->rule;
  if (position < prompt.position) {
    move_token(head, position, slot);
  } else {
    const int32_t index = position - prompt.position;
    store_rows(head, *prompt.step, prompt.first + index, slot, scratch);
    if (rule.weighs_keys) {
      const core::TensorView& k = prompt.step->k;
      load_row(k.dtype, k.at(prompt.first + index, head.kv_head), k.stride[2], scratch.vector,
               head.layer->shape.head_dim);
    }
    enter_token(head, slot, position, scratch.candidate_codes + int64_t{position} * rule.code_bytes,
                importance_of(prompt, index, scratch.vector));
    report(prompt, index, {slot, kNone});
  }
  core::visit_rule(rule.kind, [&](auto example) {
    using Rule = decltype(example);
    if constexpr (Rule::kNeedsNoSteps) {
      uint8_t* const accumulator = head.accumulators + int64_t{slot} * rule.facts.accumulator_bytes;
      accumulate_later_keys<Rule>(prompt, position, accumulator, scratch);
    }
  });
}

}  // namespace

void select_survivors(const HeadTokens& prompt, const Scratch& scratch) {
  encode_candidates(prompt, scratch);
  choose_survivors(prompt, scratch);
}

void settle_survivors(const HeadTokens& prompt, const Scratch& scratch) {
  for (int32_t slot = 0; slot < prompt.head.capacity; ++slot) {
    settle(prompt, slot, static_cast<int32_t>(scratch.order[slot]), scratch);
  }
}

}  // namespace hashevict::cpu
