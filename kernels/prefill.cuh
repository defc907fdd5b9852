// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_accumulate.cuh"
#include "kernels/detail/prefill_center.cuh"
#include "kernels/detail/prefill_gather.cuh"
#include "kernels/detail/prefill_select.cuh"
#include "kernels/detail/prefill_steps.cuh"
#include "kernels/detail/prefill_weigh.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kCountThreads = 128;

/// Shared memory of a block of prefill_choose().
template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int32_t choose_bytes(const Layer& layer) {
  const int32_t replay = replay_bytes<kBits>(layer);
  return replay > select_bytes<kBits>() ? replay : select_bytes<kBits>();
}

/// Chooses the slots of a prompt's tokens from codes alone. It leaves codes, positions, accumulators and running sums
/// as they are after the last token. Rows that are is_wide() belong to prefill_steps(). Grid: (rows, H), kChooseThreads
/// threads: a block a head.
/// Threads: in a replay, thread t owns slots t, t + kChooseThreads, ... Bytes: codes of the prompt; the state is read
/// and written once where its slots fit into shared memory. Bound: integer arithmetic of the scan. Races: steps touch
/// slots of their own thread alone. A selection reads a turn of positions, then writes slots at or below them behind a
/// barrier. Budget: 128 registers, no spills; 98 KiB of shared memory at most. One block an SM is enough: ptxas may aim
/// at two otherwise, and spill.
template <int32_t kBits>
HASHEVICT_KERNEL(kChooseThreads, 1)
prefill_choose(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const PrefillRow row = prefill_row(p, simt::block_x(), simt::block_y());
  if (row.plan == Plan::skip) return;
  const Head head = head_of(p.evict.layer, row.sequence, simt::block_y());
  const Prompt prompt{p, row, head};
  if (row.plan == Plan::refuse) {
    report_none(prompt);
  } else if (row.plan == Plan::one_shot) {
    select_survivors<kBits>(p);
  } else if (!is_wide<kBits>(prompt)) {
    replay<kBits>(prompt);
  }
}

/// Chooses the slots of a prompt's tokens where prefill_choose() leaves it to this kernel: steps of rules that score
/// distances are prepared 32 at a time. A kernel of its own, so that each kind of replay has all registers. Grid and
/// threads as there.
/// Threads: one warp takes the steps of a chunk (prefill_wide.cuh) while the others scan tiles of 16 slots for all 32
/// steps of the next one (prefill_bests.cuh, prefill_place.cuh).
/// Bytes: codes of the prompt; the state is read and written once where its slots fit into shared memory.
/// Bound: integer arithmetic of the scan, in small heads the latency of one step after the other.
/// Races: steps and scan read slots, and write nothing that the other side reads. Barriers lie between them and what
/// stores lists, fills slots or stages codes.
/// Budget: 128 registers, no spills; 98 KiB of shared memory at most.
template <int32_t kBits>
HASHEVICT_KERNEL(kChooseThreads, 1)
prefill_steps(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  start_clock();
  const PrefillRow row = prefill_row(p, simt::block_x(), simt::block_y());
  if (row.plan != Plan::by_rule) return;
  const Head head = head_of(p.evict.layer, row.sequence, simt::block_y());
  const Prompt prompt{p, row, head};
  if (is_wide<kBits>(prompt)) replay_many<kBits>(prompt);
}

/// Moves the counters on. It comes last, since the other kernels of the series decide by them. Grid: (rows /
/// kCountThreads, 1), kCountThreads threads, a row each.
/// Races: only a row's own thread touches its sequence's counters.
/// Budget: no shared memory, below 32 registers.
HASHEVICT_KERNEL(kCountThreads) prefill_count(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const int32_t index = simt::block_x() * kCountThreads + simt::thread_index();
  if (index >= p.evict.batch.rows) return;
  const PrefillRow row = prefill_row(p, index, 0);
  if (!takes_tokens(row)) return;
  const Layer& layer = p.evict.layer;
  const core::StatePointers& state = layer.state;
  for (int32_t kv_head = 0; kv_head < layer.shape.num_kv_heads; ++kv_head) {
    const int64_t counter = counter_of(layer, row.sequence, kv_head);
    simt::store(state.tokens_seen + counter, row.total());
    simt::store(state.lengths + counter, settings_of(layer, kv_head).length(row.total()));
  }
  simt::store(state.prompt_lengths + row.sequence, row.total());
  if (row.sets_centers) simt::store(state.center_set + row.sequence, int32_t{core::kCenterFromPrompt});
}

}  // namespace hashevict::kernels
