// SPDX-License-Identifier: Apache-2.0
#include "cpu/step.hpp"

#include <algorithm>

#include "core/settings.hpp"
#include "cpu/encode_kernel.hpp"
#include "cpu/head.hpp"
#include "cpu/scan_kernel.hpp"
#include "cpu/select_kernel.hpp"

namespace hashevict::cpu {
namespace {

/// Encodes the mean of all keys seen.
void encode_mean(const Head& head, int32_t tokens_seen, const Scratch& scratch) {
  const int32_t dim = head.layer->shape.head_dim;
  const auto count = static_cast<float>(tokens_seen);
  for (int32_t e = 0; e < dim; ++e) {
    const float mean = head.key_sums[e] / count;
    scratch.vector[e] = head.layer->rule.centered() ? mean - head.key_centers[e] : mean;
  }
  encode_rows({.rows = scratch.vector,
               .num_rows = 1,
               .projection = head.projection,
               .head_dim = dim,
               .hash_bits = head.layer->rule.hash_bits,
               .codes = scratch.probe});
}

struct Probes {
  const uint8_t* codes = nullptr;
  int32_t count = 0;
};

/// The codes that the rule measures distances to.
Probes probes_of(const Head& head, const Token& token, const Scratch& scratch) {
  switch (head.layer->rule.facts.probe) {
    case core::Probe::queries:
      return {token.query_codes, head.layer->shape.group_size};
    case core::Probe::new_key:
      return {token.key_code, 1};
    case core::Probe::mean_key:
      encode_mean(head, token.position + 1, scratch);
      return {scratch.probe, 1};
    case core::Probe::zero:
      std::fill_n(scratch.probe, head.layer->rule.code_bytes, uint8_t{0});
      return {scratch.probe, 1};
    case core::Probe::none:
      break;
  }
  return {};
}

/// Whether so many slots are protected that the largest score often belongs to one of them.
bool protects_many(const Head& head, int32_t num_slots) {
  return head.prompt_length > 0 || head.recent_window > num_slots / 16;
}

/// The positions that the step of a token may evict before it has to touch pinned ones.
PositionRange unpinned_range(const Head& head, int32_t token_position) {
  return {std::max(head.num_sink_tokens, head.prompt_length), token_position - head.recent_window};
}

/// Writes the scores of the first `num_slots` slots and the largest of each block to scratch memory, and updates
/// accumulators.
void scan(const Head& head, const Token& token, int32_t num_slots, const Scratch& scratch) {
  const Probes probes = probes_of(head, token, scratch);
  score_slots({.rule = head.layer->rule.kind,
               .facts = core::step_facts(*head.layer, head.kv_head, token.position),
               .codes = head.codes,
               .positions = head.positions,
               .accumulators = head.accumulators,
               .importances = head.importances,
               .importance_slopes = head.importance_slopes,
               .num_slots = num_slots,
               .code_bytes = head.layer->rule.code_bytes,
               .probes = probes.codes,
               .num_probes = probes.count,
               .scores = scratch.scores,
               .block_maxima = scratch.block_maxima,
               .evictable = unpinned_range(head, token.position),
               .many_protected = protects_many(head, num_slots)});
}

/// Selects the victim by the scores of scan(). A pinned position is evicted only if no other slot can be.
int32_t select_by_rule(const Head& head, int32_t token_position, int32_t num_slots, const Scratch& scratch) {
  SelectSlot select{.scores = scratch.scores,
                    .block_maxima = scratch.block_maxima,
                    .positions = head.positions,
                    .num_slots = num_slots,
                    .evictable = unpinned_range(head, token_position),
                    .oldest_first = head.layer->rule.oldest_first};
  const int32_t unpinned = select_slot(select);
  if (unpinned >= 0 || head.prompt_length == 0) return unpinned;
  select.evictable.first = head.num_sink_tokens;
  find_block_maxima(scratch.scores, num_slots, scratch.block_maxima);
  return select_slot(select);
}

int32_t select_oldest(const Head& head, int32_t num_slots, const Scratch& scratch) {
  for (int32_t j = 0; j < num_slots; ++j) scratch.scores[j] = ~static_cast<uint32_t>(head.positions[j]);
  find_block_maxima(scratch.scores, num_slots, scratch.block_maxima);
  return select_slot({.scores = scratch.scores,
                      .block_maxima = scratch.block_maxima,
                      .positions = head.positions,
                      .num_slots = num_slots,
                      .evictable = {head.num_sink_tokens, INT32_MAX},
                      .oldest_first = true});
}

/// The slot, or the one that kernels take where there is none. A config leaves a victim at every step, but a loaded
/// state may hold a position several times.
int32_t slot_or_first(const Head& head, int32_t slot) {
  return slot >= 0 ? slot : head.num_sink_tokens;
}

/// Finds the slot for a token and, for rules with accumulators, updates those of the other slots with it.
int32_t find_slot(const Head& head, const Token& token, const Scratch& scratch, Choice choice) {
  const core::RuleFacts& facts = head.layer->rule.facts;
  const bool by_rule = choice == Choice::rule;
  const bool full = token.position >= head.capacity;
  const int32_t length = head.length(token.position);
  const auto num_slots = static_cast<int32_t>(core::round_up(length, kScanSlots));
  const bool accumulates = facts.accumulates && (by_rule || facts.needs_no_steps);
  if ((full && by_rule) || accumulates) scan(head, token, num_slots, scratch);
  if (!full) return token.position;
  return slot_or_first(head, by_rule ? select_by_rule(head, token.position, num_slots, scratch)
                                     : select_oldest(head, num_slots, scratch));
}

}  // namespace

TakenSlot place_token(const Head& head, const Token& token, const core::Importance& importance, const Scratch& scratch,
                      Choice choice) {
  add_key(head, token.key);
  const int32_t slot = find_slot(head, token, scratch, choice);
  const TakenSlot taken{slot, head.positions[slot]};
  enter_token(head, slot, token.position, token.key_code, importance);
  return taken;
}

}  // namespace hashevict::cpu
