// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_replay.cuh"

/// Survivors of a prompt that does not fit, chosen at once among all candidates: first the cached ones, whose slot is
/// their position since nothing was evicted, then the new tokens. Each thread takes the positions that equal its number
/// modulo kChooseThreads, so scores need no barrier.
namespace hashevict::kernels {

/// A block's arrays in shared memory.
struct SelectShared {
  simt::SharedArray<int32_t> partials;  ///< [kChooseThreads]
  simt::SharedArray<int32_t> weights;   ///< [code bits]
  simt::SharedArray<uint32_t> totals;   ///< [2, kChooseWarps]
};

template <int32_t kBits>
HASHEVICT_HOST_DEVICE constexpr int32_t select_bytes() {
  return simt::shared_bytes<int32_t>(kChooseThreads) + simt::shared_bytes<int32_t>(kBits) +
         simt::shared_bytes<uint32_t>(2 * kChooseWarps);
}

template <int32_t kBits>
HASHEVICT_DEVICE SelectShared take_select_shared() {
  simt::SharedMemory memory;
  const auto partials = memory.take<int32_t>(kChooseThreads);
  const auto weights = memory.take<int32_t>(kBits);
  return {partials, weights, memory.take<uint32_t>(2 * kChooseWarps)};
}

/// The choice of survivors: the sinks, the last tokens, and of the rest those with a lower score than the last one
/// kept. Of several with its score the newest stay.
struct Survivors {
  int32_t num_sinks;
  int32_t first_recent;    ///< all positions from here on stay
  int32_t num_nearest;     ///< survivors among the rest
  uint32_t score;          ///< score of the last one kept
  int32_t first_at_score;  ///< of positions with that score, those from here on stay

  /// Whether a position's score decides.
  [[nodiscard]] HASHEVICT_DEVICE bool is_scored(int32_t position) const {
    return position >= num_sinks && position < first_recent;
  }
  [[nodiscard]] HASHEVICT_DEVICE bool keeps(int32_t position, uint32_t own) const {
    return own < score || (own == score && position >= first_at_score);
  }
};

/// All threads count, over `count` codes at `code_of_index(i)`, how often each bit is set; thread b < kBits gets bit
/// b's count.
template <int32_t kBits, class CodeOfIndex>
HASHEVICT_DEVICE int32_t count_ones(int32_t count, const simt::SharedArray<int32_t>& partials,
                                    const CodeOfIndex& code_of_index) {
  constexpr int32_t kSlices = kChooseThreads / kBits;
  const int32_t bit = simt::thread_index() % kBits;
  int32_t ones = 0;
  for (int32_t i = simt::thread_index() / kBits; i < count; i += kSlices) {
    ones += simt::load(code_of_index(i) + bit / 8) >> (bit % 8) & 1;
  }
  partials.store(simt::thread_index(), ones);
  simt::block_sync();
  for (int32_t s = 1; simt::thread_index() < kBits && s < kSlices; ++s) ones += partials.load(s * kBits + bit);
  simt::block_sync();
  return ones;
}

/// Sum over the block's threads, returned to all of them. Orders memory like block_sync().
HASHEVICT_DEVICE uint32_t block_sum(uint32_t value, const simt::SharedArray<uint32_t>& totals) {
  const uint32_t own = simt::warp_sum(value);
  if (simt::lane() == 0) totals.store(simt::warp(), own);
  simt::block_sync();
  const uint32_t sum = simt::warp_sum(simt::lane() < kChooseWarps ? totals.load(simt::lane()) : 0U);
  simt::block_sync();
  return sum;
}

/// Score of a candidate: the sum of its distances to all `num_queries` counted codes. Bit b of the candidate differs
/// from n_b queries if it is 0, and from num_queries - n_b if it is 1, where n_b queries have the bit set. So the score
/// is sum over b of (c_b ? num_queries - n_b : n_b): the sum of all n_b, plus the weight num_queries - 2 n_b of each
/// bit with c_b = 1.
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t weigh(const Code<kBits>& code, uint32_t sum_of_counts, const SelectShared& shared) {
  uint32_t score = sum_of_counts;
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kCodeWords<kBits>; ++w) {
    const uint32_t bits = code.words[w];
    for (int32_t b = 0; b < (kBits < 32 ? kBits : 32); ++b) {
      const auto weight = static_cast<uint32_t>(shared.weights.load(w * 32 + b));
      score += (bits >> b & 1U) != 0 ? weight : 0U;
    }
  }
  return score;
}

/// The candidates of one head.
struct Candidates {
  const Prompt& prompt;
  uint32_t* of_slots;   ///< scores of cached candidates
  uint32_t* of_tokens;  ///< scores of the batch's tokens

  template <int32_t kBits>
  [[nodiscard]] HASHEVICT_DEVICE Code<kBits> code(int32_t position) const {
    const int32_t before = prompt.row.before;
    return position < before ? load_code<kBits>(prompt.head.codes, position)
                             : key_code<kBits>(prompt, position - before);
  }
  [[nodiscard]] HASHEVICT_DEVICE uint32_t* score(int32_t position) const {
    const int32_t before = prompt.row.before;
    return position < before ? of_slots + position : of_tokens + prompt.token(position - before);
  }
};

/// Counts the scored candidates of all threads that pass a test.
template <class Test>
HASHEVICT_DEVICE int32_t count_scored(const Candidates& all, const Survivors& survivors, const SelectShared& shared,
                                      const Test& test) {
  uint32_t count = 0;
  for (int32_t position = simt::thread_index(); position < survivors.first_recent; position += kChooseThreads) {
    if (!survivors.is_scored(position)) continue;
    if (test(position, simt::load(all.score(position)))) ++count;
  }
  return static_cast<int32_t>(block_sum(count, shared.totals));
}

/// Scores the candidates by the queries of the last `window` tokens. @return an upper bound of the scores
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t score_candidates(const Candidates& all, const Survivors& survivors,
                                           const SelectShared& shared, int32_t window) {
  const Prompt& prompt = all.prompt;
  const int32_t group = prompt.layer().shape.group_size;
  const int32_t num_queries = window * group;
  const int32_t ones = count_ones<kBits>(num_queries, shared.partials, [&](int32_t i) {
    const int64_t token = prompt.token(prompt.row.num_tokens - window + i / group);
    return encoded_query(prompt.params, token, prompt.head.kv_head, i % group);
  });
  const bool counts = simt::thread_index() < kBits;
  if (counts) shared.weights.store(simt::thread_index(), num_queries - 2 * ones);
  const uint32_t sum = block_sum(counts ? static_cast<uint32_t>(ones) : 0U, shared.totals);
  for (int32_t position = simt::thread_index(); position < survivors.first_recent; position += kChooseThreads) {
    if (!survivors.is_scored(position)) continue;
    simt::store(all.score(position), weigh(all.code<kBits>(position), sum, shared));
  }
  return static_cast<uint32_t>(num_queries) * kBits;
}

/// Finds the score, and within it the position, that separates the nearest candidates from the others, by two
/// bisections on counts.
HASHEVICT_DEVICE void part_candidates(const Candidates& all, Survivors& survivors, const SelectShared& shared,
                                      uint32_t largest) {
  uint32_t low = 0;
  for (uint32_t high = largest; low < high;) {
    const uint32_t middle = low + (high - low) / 2;
    const int32_t count =
        count_scored(all, survivors, shared, [&](int32_t /*position*/, uint32_t score) { return score <= middle; });
    if (count >= survivors.num_nearest) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const int32_t below =
      count_scored(all, survivors, shared, [&](int32_t /*position*/, uint32_t score) { return score < low; });
  int32_t first = survivors.num_sinks;
  for (int32_t end = survivors.first_recent; end - first > 1;) {
    const int32_t middle = first + (end - first) / 2;
    const int32_t count = count_scored(
        all, survivors, shared, [&](int32_t position, uint32_t score) { return score == low && position >= middle; });
    (below + count >= survivors.num_nearest ? first : end) = middle;
  }
  survivors.score = low;
  survivors.first_at_score = first;
}

/// All threads move the survivors into slots, in ascending order of position. A turn takes kChooseThreads positions. It
/// overwrites only slots at or below these, which have been read by then.
template <int32_t kBits>
HASHEVICT_DEVICE void settle(const Candidates& all, const Survivors& survivors, const SelectShared& shared) {
  const Prompt& prompt = all.prompt;
  const GlobalSlots<kBits> state{prompt.head, prompt.rule().accumulator_bytes};
  int32_t filled = 0;
  int32_t turn = 0;
  for (int32_t first = 0; first < prompt.row.total(); first += kChooseThreads, turn = 1 - turn) {
    const int32_t position = first + simt::thread_index();
    const bool present = position < prompt.row.total();
    bool stays = present;
    if (present && survivors.is_scored(position)) {
      stays = survivors.num_nearest > 0 && survivors.keeps(position, simt::load(all.score(position)));
    }
    Code<kBits> code{};
    uint32_t accumulator = 0;
    core::Importance importance{};
    if (stays) {
      code = all.code<kBits>(position);
      if (prompt.rule().accumulator_bytes != 0)
        accumulator = position < prompt.row.before ? state.accumulator(position) : start_of(prompt.layer());
      if (prompt.rule().needs_importance) {
        importance = position < prompt.row.before ? state.importance(position)
                                                  : given_importance(prompt.params.evict, prompt.head.kv_head,
                                                                     prompt.token(position - prompt.row.before));
      }
    }
    const uint32_t ballot = simt::ballot(simt::kFullMask, stays);
    if (simt::lane() == 0)
      shared.totals.store(turn * kChooseWarps + simt::warp(), static_cast<uint32_t>(simt::popcount(ballot)));
    simt::block_sync();
    int32_t slot = filled + simt::popcount(ballot & ((1U << simt::lane()) - 1U));
    for (int32_t w = 0; w < kChooseWarps; ++w) {
      const auto total = static_cast<int32_t>(shared.totals.load(turn * kChooseWarps + w));
      if (w < simt::warp()) slot += total;
      filled += total;
    }
    if (!stays) continue;
    state.set_code(slot, code);
    state.set_position(slot, position);
    if (prompt.rule().accumulator_bytes != 0) state.set_accumulator(slot, accumulator);
    if (prompt.rule().needs_importance) state.set_importance(slot, importance);
    if (position < prompt.row.before) continue;
    store_number(prompt.params.evict.slots, prompt.token(position - prompt.row.before), prompt.head.kv_head, slot);
  }
}

/// Adds the prompt's keys to their running sum, for rules that need it.
HASHEVICT_DEVICE void sum_keys(const Prompt& prompt) {
  const int32_t thread = simt::thread_index();
  if (prompt.rule().needs_key_sums && thread < prompt.layer().shape.head_dim) {
    float sum = simt::load(prompt.head.key_sums + thread);
    for (int32_t i = 0; i < prompt.row.num_tokens; ++i) sum = simt::add(sum, key_element(prompt, i, thread));
    simt::store(prompt.head.key_sums + thread, sum);
  }
}

/// Chooses the survivors of modes WINDOW and RECENT. Later kernels move their keys and values. A function of its own,
/// so that the steps of a replay have all registers.
template <int32_t kBits>
HASHEVICT_NOINLINE void select_survivors(const PrefillParams& p) {
  const PrefillRow row = prefill_row(p, simt::block_x(), simt::block_y());
  const Prompt prompt{p, row, head_of(p.evict.layer, row.sequence, simt::block_y())};
  const SelectShared shared = take_select_shared<kBits>();
  const Head& head = prompt.head;
  const int32_t scope = head.capacity - head.num_sink_tokens;
  const int32_t window = prompt.params.mode == HASHEVICT_PREFILL_WINDOW ? window_of(prompt.params, head) : scope;
  const Candidates all{prompt, scores_of_slots(prompt.params, head), scores_of_tokens(prompt.params, head.kv_head)};
  Survivors survivors{head.num_sink_tokens, prompt.row.total() - window, scope - window, 0, 0};
  report_none(prompt);
  if (survivors.num_nearest > 0) {
    const uint32_t largest = score_candidates<kBits>(all, survivors, shared, window);
    part_candidates(all, survivors, shared, largest);
  }
  simt::block_sync();
  settle<kBits>(all, survivors, shared);
  sum_keys(prompt);
}

}  // namespace hashevict::kernels
