// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <numeric>

#include "cpu/prefill_head.hpp"
#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {
namespace {

bool by_queries(const Prompt& prompt) {
  return prompt.step->prefill_mode == HASHEVICT_PREFILL_WINDOW;
}

/// Codes of all candidates by position: what is cached (nothing was evicted, so slot = position), then the new tokens.
/// Also fills in what accumulators start from, the running probes and the codes of the last queries.
void encode_candidates(const Prompt& prompt, const Scratch& scratch, const SelectScratch& select) {
  const Head& head = prompt.head;
  const int64_t bytes = head.settings().code_bytes;
  const int64_t query_bytes = bytes * head.settings().group_size;
  const int32_t window_start = prompt.num_tokens - core::query_window(*prompt.step, *head.shape);
  const bool scored_by_query = by_queries(prompt);
  const bool with_queries = scored_by_query || head.settings().uses_queries();
  std::memcpy(select.codes, head.codes, static_cast<std::size_t>(prompt.before * bytes));
  for (int32_t first = 0; first < prompt.num_tokens; first += kEncodeTokens) {
    const int32_t count = std::min(kEncodeTokens, prompt.num_tokens - first);
    encode_tokens(head, *prompt.step, prompt.first_token + first, count, with_queries, scratch);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t position = prompt.before + first + i;
      const Token token = encoded_token(head, position, i, with_queries, scratch);
      std::memcpy(select.codes + position * bytes, token.key_code, static_cast<std::size_t>(bytes));
      select.starts[position] = new_token(head, token);
      add_to_probe(head, token.key, token.key_code);
      if (scored_by_query && first + i >= window_start) {
        std::memcpy(select.query_codes + (first + i - window_start) * query_bytes, token.query_codes,
                    static_cast<std::size_t>(query_bytes));
      }
      report(*prompt.step, prompt.first_token + first + i, head.kv_head, {-1, -1});
    }
  }
}

/// Positions that stay, ascending, in select.order[0 .. capacity).
void choose_survivors(const Prompt& prompt, const Scratch& scratch, const SelectScratch& select) {
  const Head& head = prompt.head;
  const int32_t capacity = head.shape->capacity;
  const int32_t sinks = head.shape->num_sink_tokens;
  const int32_t total = prompt.total();
  const int32_t window = by_queries(prompt) ? core::query_window(*prompt.step, *head.shape) : capacity - sinks;
  const int32_t num_scored = capacity - sinks - window;
  if (num_scored > 0) {
    hamming_distances(select.codes, head.settings().code_bytes, static_cast<int32_t>(core::round_up(total, kScanSlots)),
                      select.query_codes, window * head.settings().group_size, scratch.scores);
    uint64_t* const keys = select.order + sinks;
    const int32_t num_candidates = total - window - sinks;
    for (int32_t i = 0; i < num_candidates; ++i) {  // nearest first, and of equals the newest
      keys[i] = uint64_t{scratch.scores[sinks + i]} << 32 | ~static_cast<uint32_t>(sinks + i);
    }
    std::nth_element(keys, keys + num_scored, keys + num_candidates);
    for (int32_t i = 0; i < num_scored; ++i) keys[i] = ~static_cast<uint32_t>(keys[i]);
    std::sort(keys, keys + num_scored);
  }
  const int32_t first_recent = total - window;
  std::iota(select.order, select.order + sinks, uint64_t{0});
  std::iota(select.order + capacity - window, select.order + capacity, static_cast<uint64_t>(first_recent));
}

/// Takes the later keys of this prompt into a survivor's accumulator, which depends on nothing else.
template <class Rule>
void accumulate_later_keys(const Prompt& prompt, int32_t position, uint8_t* accumulator, const Scratch& scratch,
                           const SelectScratch& select) {
  static_assert(Rule::kProbe == core::Probe::new_key);
  const int64_t bytes = prompt.head.settings().code_bytes;
  const int32_t first = std::max(position + 1, prompt.before);
  const int32_t count = prompt.total() - first;
  if (count == 0) return;
  hamming_distances(select.codes + first * bytes, static_cast<int32_t>(bytes),
                    static_cast<int32_t>(core::round_up(count, kScanSlots)), select.codes + position * bytes, 1,
                    scratch.scores);
  core::StepFacts facts = prompt.head.facts;
  typename Rule::Accumulator value;
  std::memcpy(&value, accumulator, sizeof value);
  for (int32_t i = 0; i < count; ++i) {
    facts.token_position = first + i;
    value = Rule::update(value, scratch.scores[i], facts);
  }
  std::memcpy(accumulator, &value, sizeof value);
}

/// Copies a cached row to a lower slot.
void move_row(const Head& head, int32_t from, int32_t to) {
  const int64_t element = core::size_of(head.settings().dtype);
  const auto bytes = static_cast<std::size_t>(head.config().head_dim * element);
  for (void* const base : {head.keys, head.values}) {
    auto* const memory = static_cast<unsigned char*>(base);
    std::memcpy(memory + head.address(to) * element, memory + head.address(from) * element, bytes);
  }
}

/// Puts the survivor of `position` into `slot` <= position: ascending order never overwrites one still needed.
void settle(const Prompt& prompt, int32_t slot, int32_t position, const Scratch& scratch, const SelectScratch& select) {
  const Head& head = prompt.head;
  const int64_t width = core::accumulator_bytes(head.config());
  uint8_t* const accumulator = head.accumulators + slot * width;
  if (position < prompt.before) {
    if (slot != position) {
      move_row(head, position, slot);
      std::memcpy(accumulator, head.accumulators + position * width, static_cast<std::size_t>(width));
    }
  } else {
    const int64_t token = prompt.first_token + (position - prompt.before);
    store_rows(head, *prompt.step, token, slot, scratch);
    start_accumulator(head, slot, select.starts[position]);
    report(*prompt.step, token, head.kv_head, {slot, -1});
  }
  core::visit_rule(head.config(), [&](auto rule) {
    using Rule = decltype(rule);
    if constexpr (Rule::kNeedsNoSteps) {
      accumulate_later_keys<Rule>(prompt, position, accumulator, scratch, select);
    }
  });
  const int64_t bytes = head.settings().code_bytes;
  std::memcpy(head.codes + slot * bytes, select.codes + position * bytes, static_cast<std::size_t>(bytes));
  head.positions[slot] = position;
}

}  // namespace

void select_survivors(const Prompt& prompt, const Scratch& scratch, const SelectScratch& select) {
  encode_candidates(prompt, scratch, select);
  choose_survivors(prompt, scratch, select);
  for (int32_t slot = 0; slot < prompt.head.shape->capacity; ++slot) {
    settle(prompt, slot, static_cast<int32_t>(select.order[slot]), scratch, select);
  }
}

}  // namespace hashevict::cpu
