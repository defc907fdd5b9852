// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/step.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kEvictThreads = 256;

/// One decode step of one head, without its attention.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE void take_token(const EvictParams& p, const Head& head, const StepShared& shared, int32_t token,
                                 int32_t position) {
  encode_token<kEvictThreads, kBits>(p, head, token, shared);
  make_probe<kEvictThreads, Rule, kBits>(p.layer, head, shared, position, true);
  const core::StepFacts facts = core::step_facts(p.layer, head.kv_head, position);
  const int32_t slot = find_slot<kEvictThreads, Rule, kBits>(p.layer, head, shared, facts);
  if (simt::thread_index() == 0) {
    replace<Rule, kBits>(p, head, shared, token, position, slot);
  }
  if (p.store != 0) store_rows(p.layer, head, p.k, p.v, token, slot);
  simt::block_sync();
}

/// Steps of all rows and heads of a layer. Grid: (rows, KV heads); 256 threads: a block a head.
/// Threads: a warp encodes one word of a vector (lane = bit). In the scan, thread t owns slots t, t + 256, ... Thread 0
/// overwrites the victim's code and position; all threads copy its key and value in 16-byte pieces.
/// Bytes: codes, positions and accumulators of the head once, the projection from L2, one key and value in and out.
/// Bound: latency of head_dim dependent fma, then of one pass over codes; tokens of a row follow one another.
/// Races: a head's slots and counters belong to its block alone, with barriers between scan and replacement.
/// Budget: 128 registers, no spills; 9 KiB of shared memory at head_dim 256, plus 16 bytes a query.
template <int32_t kBits>
HASHEVICT_KERNEL(kEvictThreads, 2)
evict(HASHEVICT_GRID_CONSTANT EvictParams p) {
  simt::wait_for_launch_before();
  const Row row = row_of(p.batch, simt::block_x());
  if (row.sequence < 0 || row.num_tokens == 0) return;
  simt::SharedMemory memory;
  const StepShared shared = take_step_shared(memory, p.layer);
  const Head head = head_of(p.layer, row.sequence, simt::block_y());
  const int32_t before = simt::load_relaxed(head.tokens_seen);
  if (!has_pages_for(p.layer, row.sequence, before, row.num_tokens)) return;
  core::visit_rule(p.layer.rule.kind, [&](auto rule) {
    for (int32_t i = 0; i < row.num_tokens; ++i) {
      take_token<decltype(rule), kBits>(p, head, shared, row.first_token + i, before + i);
    }
  });
  if (simt::thread_index() == 0) {
    count_tokens(p.layer, row.sequence, head.kv_head, before + row.num_tokens, head.capacity);
  }
}

}  // namespace hashevict::kernels
