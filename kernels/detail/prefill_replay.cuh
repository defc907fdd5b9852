// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_stage.cuh"

/// Steps of a prompt, one token after the other, on codes alone. Nothing is pinned against its own prompt.
namespace hashevict::kernels {

/// What a replay takes of shared memory, slots included if all fits into what every device lends a block.
struct ReplayShape {
  int32_t bytes;
  bool shares_slots;
};

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline ReplayShape replay_shape(const Layer& layer) {
  constexpr int32_t kMostBytes = 98 * 1024;
  const RuleFacts rule = rule_facts(layer.rule);
  const ChunkShape chunk = chunk_shape<kBits>(layer, rule.probe);
  const int32_t bytes = simt::shared_bytes<uint32_t>(chunk.words) + simt::shared_bytes<float>(chunk.floats);
  const int64_t with_slots = bytes + shared_slots_bytes<kBits>(layer.capacity, rule.accumulator_bytes != 0);
  if (with_slots <= kMostBytes) return {static_cast<int32_t>(with_slots), true};
  return {bytes, false};
}

/// One step: a token as the slots see it.
struct ReplayStep {
  core::StepFacts facts;
  int32_t index;         ///< in its chunk
  int32_t num_slots;     ///< that are valid
  int32_t end_position;  ///< of those that may be replaced
  bool by_rule;          ///< else by age
  bool updates;          ///< accumulators
  int32_t first_probe;   ///< codes of the chunk's token that slots are measured against
  int32_t end_probe;
};

HASHEVICT_DEVICE ReplayStep replay_step(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t index) {
  const Layer& layer = prompt.layer();
  const int32_t position = prompt.row.before + first + index;
  const bool by_rule = prompt.row.plan == Plan::by_rule;
  const bool measures = prompt.rule.probe != core::Probe::none && (by_rule || prompt.rule.needs_no_steps);
  const int32_t first_probe = prompt.rule.probe == core::Probe::new_key ? 0 : 1;
  return {facts_of(layer, prompt.head, position),
          index,
          position < layer.capacity ? position : layer.capacity,
          by_rule ? position - layer.recent_window : position,
          by_rule,
          prompt.rule.accumulates && measures,
          first_probe,
          !measures ? first_probe : (first_probe == 0 ? 1 : chunk.codes_of_token)};
}

/// Slots that a thread scans at a time: their loads are on their way together.
template <int32_t kBits>
struct ReplayedSlots {
  static constexpr int32_t kCount = 4;
  int32_t positions[kCount];
  uint32_t distances[kCount];
  uint32_t accumulators[kCount];
  uint32_t scores[kCount];
};

/// Loads this thread's next slots of those that are valid, and measures them.
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
    if (prompt.rule.accumulator_bytes != 0) slots.accumulators[i] = all.accumulator(slot);
  }
  for (int32_t n = step.first_probe; n < step.end_probe; ++n) {
    const Code<kBits> probe = staged_code<kBits>(chunk, step.index, n);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kCount; ++i) slots.distances[i] += hamming_distance(codes[i], probe);
  }
}

/// The rule's part: what becomes of accumulators, and the scores. An object rather than a lambda, so that it is inlined
/// and the slots stay in registers.
template <int32_t kBits>
struct ScoreSlots {
  const ReplayStep& step;
  ReplayedSlots<kBits>& slots;

  template <class Rule>
  HASHEVICT_DEVICE void operator()(Rule /*rule*/) const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < ReplayedSlots<kBits>::kCount; ++i) {
      typename Rule::Accumulator accumulator{};
      if constexpr (core::kHasAccumulator<Rule>) {
        accumulator = static_cast<typename Rule::Accumulator>(slots.accumulators[i]);
        if (step.updates) accumulator = Rule::update(accumulator, slots.distances[i], step.facts);
        slots.accumulators[i] = accumulator;
      }
      slots.scores[i] = Rule::score(accumulator, slots.distances[i], slots.positions[i], step.facts);
    }
  }
};

/// This thread's best candidate. Updates the accumulators of rules that accumulate.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE Candidate scan_slots(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const ReplayStep& step) {
  using Slots4 = ReplayedSlots<kBits>;
  const Layer& layer = prompt.layer();
  Candidate best{0, -1};
  for (int32_t first = simt::thread_index(); first < step.num_slots; first += Slots4::kCount * kChooseThreads) {
    Slots4 slots;
    measure_slots(prompt, all, chunk, step, first, slots);
    core::visit_rule(layer.rule, ScoreSlots<kBits>{step, slots});
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Slots4::kCount; ++i) {
      const int32_t slot = first + i * kChooseThreads;
      if (slot >= step.num_slots) continue;
      if (step.updates) all.set_accumulator(slot, slots.accumulators[i]);
      const int32_t position = slots.positions[i];
      if (position < layer.num_sink_tokens || position >= step.end_position) continue;
      const uint32_t score = step.by_rule ? slots.scores[i] : core::Oldest::score({}, 0, position, step.facts);
      const uint64_t key = eviction_key(layer, score, position, slot, true);
      if (key > best.key) best = {key, slot};
    }
  }
  return best;
}

/// The slot's own thread puts a token there, and tells so if it is the rule's choice.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void place_token(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, int32_t first,
                                  int32_t index, int32_t slot, int32_t victim) {
  const int64_t token = prompt.token(first + index);
  const int32_t kv_head = prompt.head.kv_head;
  all.set_position(slot, prompt.row.before + first + index);
  all.set_code(slot, staged_code<kBits>(chunk, index, 0));
  if (prompt.rule.starts_vary) {
    all.set_accumulator(slot, simt::load(scores_of_tokens(prompt.params, kv_head) + token));
  } else if (prompt.rule.accumulator_bytes != 0) {
    all.set_accumulator(slot, start_of<kBits>(prompt, first + index));
  }
  if (prompt.row.plan != Plan::by_rule) return;
  store_number(prompt.params.evict.slots, token, kv_head, slot);
  store_number(prompt.params.evict.victims, token, kv_head, victim);
}

/// The step of one token of the chunk that starts at `first`.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_token(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, int32_t first,
                                   int32_t index) {
  const ReplayStep step = replay_step(prompt, chunk, first, index);
  const int32_t position = step.facts.token_position;
  const bool full = position >= prompt.layer().capacity;
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

/// All threads tell that no token is kept, as far as is known yet, and that none has replaced another.
HASHEVICT_DEVICE void report_none(const Prompt& prompt) {
  for (int32_t i = simt::thread_index(); i < prompt.row.num_tokens; i += kChooseThreads) {
    store_number(prompt.params.evict.slots, prompt.token(i), prompt.head.kv_head, -1);
    store_number(prompt.params.evict.victims, prompt.token(i), prompt.head.kv_head, -1);
  }
}

/// Runs the steps of all tokens. By age, what is reported is where they are in the end.
template <int32_t kBits>
HASHEVICT_DEVICE void replay(const Prompt& prompt) {
  simt::SharedMemory memory;
  const Layer& layer = prompt.layer();
  const Chunk chunk = take_chunk<kBits>(memory, layer, prompt.rule.probe);
  if (prompt.rule.starts_vary) {
    uint32_t* const starts = scores_of_tokens(prompt.params, prompt.head.kv_head);
    for (int32_t i = simt::thread_index(); i < prompt.row.num_tokens; i += kChooseThreads) {
      simt::store(starts + prompt.token(i), start_of<kBits>(prompt, i));
    }
  }
  const bool by_age = prompt.row.plan == Plan::by_age;
  if (by_age) report_none(prompt);
  const GlobalSlots<kBits> global{prompt.head, prompt.rule.accumulator_bytes};
  const bool accumulators = prompt.rule.accumulator_bytes != 0;
  const int32_t length = length_after(prompt.params, prompt.row);
  if (replay_shape<kBits>(layer).shares_slots) {
    const auto shared = take_shared_slots<kBits>(memory, layer.capacity, accumulators);
    const int32_t valid = prompt.row.before < layer.capacity ? prompt.row.before : layer.capacity;
    copy_slots_of_thread(global, shared, valid, accumulators);
    replay_tokens<kBits>(prompt, shared, chunk);
    copy_slots_of_thread(shared, global, length, accumulators);
  } else {
    replay_tokens<kBits>(prompt, global, chunk);
  }
  for (int32_t slot = simt::thread_index(); by_age && slot < length; slot += kChooseThreads) {
    const int64_t token = token_of(prompt.row, global.position(slot));
    if (token >= 0) store_number(prompt.params.evict.slots, token, prompt.head.kv_head, slot);
  }
}

}  // namespace hashevict::kernels
