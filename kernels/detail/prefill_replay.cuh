// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_stage.cuh"

/// Steps of a prompt on codes alone, one token after the other. No position is pinned during its own prompt.
namespace hashevict::kernels {

/// One step, as the slots see its token.
struct ReplayStep {
  core::StepFacts facts;
  int32_t index;         ///< index of the token in its chunk
  int32_t num_slots;     ///< valid slots
  int32_t end_position;  ///< slots of lower positions may be replaced
  bool by_rule;          ///< the rule chooses the victim; else its age
  bool updates;          ///< the step updates accumulators
  int32_t first_probe;   ///< first of the chunk's codes that slots are measured against
  int32_t end_probe;
};

HASHEVICT_DEVICE ReplayStep replay_step(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t index) {
  const Layer& layer = prompt.layer();
  const int32_t position = prompt.row.before + first + index;
  const bool by_rule = prompt.row.plan == Plan::by_rule;
  const bool counts = by_rule || prompt.rule().needs_no_steps;  // towards accumulators
  const bool measures = counts && prompt.rule().probe != core::Probe::none;
  const int32_t first_probe = prompt.rule().probe == core::Probe::new_key ? 0 : 1;
  return {core::step_facts(layer, prompt.head.kv_head, position),
          index,
          prompt.head.length(position),
          by_rule ? position - prompt.head.recent_window : position,
          by_rule,
          prompt.rule().accumulates && counts,
          first_probe,
          !measures ? first_probe : (first_probe == 0 ? 1 : chunk.codes_of_token)};
}

/// Slots that a thread scans at a time; their loads are in flight together. More wide codes would spill on sm_80.
template <int32_t kBits>
struct ReplayedSlots {
  static constexpr int32_t kCount = kBits <= 32 ? 4 : 2;
  int32_t positions[kCount];
  uint32_t distances[kCount];
  uint32_t accumulators[kCount];
  uint32_t scores[kCount];
};

/// Loads this thread's next valid slots and measures their distances.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void measure_slots(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                    const ReplayStep& step, int32_t first, ReplayedSlots<kBits>& slots) {
  constexpr int32_t kCount = ReplayedSlots<kBits>::kCount;
  Code<kBits> codes[kCount] = {};
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kCount; ++i) {
    const int32_t slot = first + i * kChooseThreads;
    slots.distances[i] = 0;
    slots.positions[i] = -1;
    slots.accumulators[i] = 0;
    if (slot >= step.num_slots) continue;
    slots.positions[i] = all.position(slot);
    if (step.first_probe < step.end_probe) codes[i] = all.code(slot);
    if (prompt.rule().accumulator_bytes != 0) slots.accumulators[i] = all.accumulator(slot);
  }
  for (int32_t n = step.first_probe; n < step.end_probe; ++n) {
    const Code<kBits> probe = staged_code<kBits>(chunk, step.index, n);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kCount; ++i) slots.distances[i] += hamming_distance(codes[i], probe);
  }
}

/// The rule's part of a step: it updates accumulators and scores slots. An object rather than a lambda, so that the
/// compiler inlines it and keeps the slots in registers.
template <int32_t kBits, class AllSlots>
struct ScoreSlots {
  const AllSlots& all;
  const ReplayStep& step;
  int32_t first;  ///< this thread's first slot
  ReplayedSlots<kBits>& slots;

  template <class Rule>
  HASHEVICT_DEVICE void operator()(Rule /*rule*/) const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < ReplayedSlots<kBits>::kCount; ++i) {
      typename Rule::Accumulator accumulator{};
      if constexpr (core::kReadsImportance<Rule>) {
        const int32_t slot = first + i * kChooseThreads;
        if (slot < step.num_slots) accumulator = all.importance(slot);
      }
      if constexpr (core::kHasAccumulator<Rule>) {
        accumulator = static_cast<typename Rule::Accumulator>(slots.accumulators[i]);
        if constexpr (Rule::kAccumulates) {
          if (step.updates) accumulator = Rule::update(accumulator, slots.distances[i], step.facts);
          slots.accumulators[i] = accumulator;
        }
      }
      slots.scores[i] = Rule::score(accumulator, slots.distances[i], slots.positions[i], step.facts);
    }
  }
};

/// Finds this thread's best candidate and updates the accumulators of rules that accumulate.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE Candidate scan_slots(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const ReplayStep& step) {
  using Slots = ReplayedSlots<kBits>;
  const Layer& layer = prompt.layer();
  Candidate best{0, -1};
  for (int32_t first = simt::thread_index(); first < step.num_slots; first += Slots::kCount * kChooseThreads) {
    Slots slots;
    measure_slots(prompt, all, chunk, step, first, slots);
    core::visit_rule(layer.rule.kind, ScoreSlots<kBits, AllSlots>{all, step, first, slots});
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Slots::kCount; ++i) {
      const int32_t slot = first + i * kChooseThreads;
      if (slot >= step.num_slots) continue;
      if (step.updates) all.set_accumulator(slot, slots.accumulators[i]);
      const int32_t position = slots.positions[i];
      if (position < prompt.head.num_sink_tokens || position >= step.end_position) continue;
      const uint32_t score = step.by_rule ? slots.scores[i] : core::Oldest::score({}, 0, position, step.facts);
      const uint64_t key = eviction_key(layer, score, position, slot, true);
      if (key > best.key) best = {key, slot};
    }
  }
  return best;
}

/// All threads note that no key has died. A barrier comes before the first death.
HASHEVICT_DEVICE void start_deaths(const Prompt& prompt) {
  if (!records_deaths(prompt.params)) return;
  const Deaths deaths = deaths_of(prompt.params, prompt.row, prompt.head);
  const int32_t slots = prompt.head.length(prompt.row.before);
  for (int32_t i = simt::thread_index(); i < slots; i += kChooseThreads) {
    simt::store(deaths.of_slots + i, uint32_t{kForever});
  }
  for (int32_t i = simt::thread_index(); i < prompt.row.num_tokens; i += kChooseThreads) {
    simt::store(deaths.of_tokens + i, uint32_t{kForever});
  }
}

/// Notes that the step of the token with this index evicts a key from a slot.
HASHEVICT_DEVICE void record_death(const Prompt& prompt, int32_t slot, int32_t victim, int32_t index) {
  if (victim < 0 || !records_deaths(prompt.params)) return;
  const Deaths deaths = deaths_of(prompt.params, prompt.row, prompt.head);
  const int32_t token = victim - prompt.row.before;
  simt::store(token < 0 ? deaths.of_slots + slot : deaths.of_tokens + token, static_cast<uint32_t>(index));
}

/// One thread gives a slot the code, the initial accumulator and the importance of a token.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void fill_slot(const Prompt& prompt, const AllSlots& all, int32_t slot, const Code<kBits>& code,
                                const core::Importance& importance) {
  all.set_code(slot, code);
  if (prompt.rule().accumulator_bytes != 0) all.set_accumulator(slot, start_of(prompt.layer()));
  if (prompt.rule().needs_importance) all.set_importance(slot, importance);
}

/// The importance of a token of the chunk, for rules that need it.
HASHEVICT_DEVICE core::Importance staged_importance(const Prompt& prompt, const Chunk& chunk, int32_t index) {
  if (!prompt.rule().needs_importance) return {};
  return {chunk.importances.load(2 * index), chunk.importances.load(2 * index + 1)};
}

/// Reports the slot that the rule chose for the token with this index in its row, and its victim.
HASHEVICT_DEVICE void report_step(const Prompt& prompt, int32_t index, int32_t slot, int32_t victim) {
  const int64_t token = prompt.token(index);
  store_number(prompt.params.evict.slots, token, prompt.head.kv_head, slot);
  store_number(prompt.params.evict.victims, token, prompt.head.kv_head, victim);
  record_death(prompt, slot, victim, index);
}

/// The thread that owns the slot puts a token there, and reports it if the rule chose the slot.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void place_token(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, int32_t first,
                                  int32_t index, int32_t slot, int32_t victim) {
  all.set_position(slot, prompt.row.before + first + index);
  fill_slot<kBits>(prompt, all, slot, staged_code<kBits>(chunk, index, 0), staged_importance(prompt, chunk, index));
  if (prompt.row.plan == Plan::by_rule) report_step(prompt, first + index, slot, victim);
}

/// The step of one token of the chunk that starts at `first`.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_token(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, int32_t first,
                                   int32_t index) {
  const ReplayStep step = replay_step(prompt, chunk, first, index);
  const int32_t position = step.facts.token_position;
  const bool full = position >= prompt.head.capacity;
  Candidate best{0, -1};
  if (full || step.updates) best = scan_slots<kBits>(prompt, all, chunk, step);
  if (full) {
    const uint64_t winner = simt::block_max<kChooseThreads>(best.key);
    if (best.key != winner || winner == 0) return;
  } else if (position % kChooseThreads != simt::thread_index()) {
    return;
  }
  const int32_t slot = full ? best.slot : position;
  place_token<kBits>(prompt, all, chunk, first, index, slot, full ? all.position(slot) : -1);
}

template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_tokens(const Prompt& prompt, const AllSlots& all, const Chunk& chunk) {
  for (int32_t first = 0; first < prompt.row.num_tokens; first += chunk.tokens) {
    const int32_t left = prompt.row.num_tokens - first;
    const int32_t count = left < chunk.tokens ? left : chunk.tokens;
    stage_chunk<kBits>(prompt, chunk, first, count);
    for (int32_t i = 0; i < count; ++i) replay_token<kBits>(prompt, all, chunk, first, i);
    simt::block_sync();
  }
}

/// All threads report, as the initial value, that no token is kept and that none has replaced another.
HASHEVICT_DEVICE void report_none(const Prompt& prompt) {
  for (int32_t i = simt::thread_index(); i < prompt.row.num_tokens; i += kChooseThreads) {
    store_number(prompt.params.evict.slots, prompt.token(i), prompt.head.kv_head, -1);
    store_number(prompt.params.evict.victims, prompt.token(i), prompt.head.kv_head, -1);
  }
}

}  // namespace hashevict::kernels
