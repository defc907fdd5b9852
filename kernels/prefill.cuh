// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_center.cuh"
#include "kernels/detail/prefill_gather.cuh"
#include "kernels/detail/prefill_replay.cuh"
#include "kernels/detail/prefill_select.cuh"
#include "kernels/detail/prefill_supersede.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kCountThreads = 128;

/// Shared memory of a block that chooses.
template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int32_t choose_bytes(const Layer& layer) {
  const int32_t replay = replay_shape<kBits>(layer).bytes;
  return replay > select_bytes<kBits>() ? replay : select_bytes<kBits>();
}

/// Chooses the slots of a prompt's tokens, from codes alone: codes, positions, accumulators and running sums of the
/// state become those after the last token. Grid: (rows, H), kChooseThreads threads: a block a head.
/// Threads: in a replay, thread t owns slots t, t + kChooseThreads, ...: it scans them, and overwrites those that lose;
/// in a selection, positions likewise.
/// Bytes: codes of the prompt, in and out of the state once where its slots fit into shared memory.
/// Bound: tokens of a replay follow one another: a scan of C / kChooseThreads slots and one block-wide maximum each.
/// Races: slots are touched by their owners alone, codes of a chunk of tokens lie between two barriers; a selection
/// reads a turn of positions, then writes slots at or below them behind a barrier.
/// Budget: 128 registers, no spills; 98 KiB of shared memory at most.
template <int32_t kBits>
HASHEVICT_KERNEL(kChooseThreads)
prefill_choose(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const PrefillRow row = prefill_row(p, simt::block_x());
  if (row.plan == Plan::skip) return;
  const Head head = head_of(p.evict.layer, row.sequence, simt::block_y());
  const Prompt prompt{p, row, head, rule_facts(p.evict.layer.rule)};
  if (row.plan == Plan::refuse) {
    report_none(prompt);
  } else if (row.plan == Plan::one_shot) {
    select_survivors<kBits>(prompt);
  } else {
    replay<kBits>(prompt);
  }
}

/// Moves the counters on, which ends what other kernels of the series decide from them. Grid: (rows / kCountThreads,
/// 1), kCountThreads threads, a row each. Races: a row's thread alone touches its sequence's counters.
/// Budget: no shared memory, below 32 registers.
HASHEVICT_KERNEL(kCountThreads) prefill_count(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const int32_t index = simt::block_x() * kCountThreads + simt::thread_index();
  if (index >= p.evict.batch.rows) return;
  const PrefillRow row = prefill_row(p, index);
  if (!takes_tokens(row)) return;
  const State& state = p.evict.layer.state;
  simt::store(state.tokens_seen + row.sequence, row.total());
  simt::store(state.prompt_lengths + row.sequence, row.total());
  simt::store(state.lengths + row.sequence, length_after(p, row));
  if (row.sets_centers) simt::store(state.center_set + row.sequence, int32_t{core::kCenterFromPrompt});
}

}  // namespace hashevict::kernels
