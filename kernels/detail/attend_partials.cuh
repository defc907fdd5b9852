// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_state.cuh"

/// Results that the blocks of a head leave in the workspace for its last block. All accesses are relaxed: each number
/// is written once and read once, by different blocks.
namespace hashevict::kernels {

/// The workspace of one KV head of one item.
struct HeadPartials {
  float* states;  ///< [splits, G, 2 + head_dim]
  uint64_t* keys;
  int32_t* slots;
  float* logits;  ///< [splits, G]
  int32_t group_size;
  int32_t head_dim;

  HASHEVICT_DEVICE float* state(int32_t split, int32_t query) const {
    return states + (int64_t{split} * group_size + query) * (2 + head_dim);
  }
};

HASHEVICT_DEVICE HeadPartials partials_of(const Partials& p, const Layer& layer, int32_t item, int32_t first_split) {
  const int64_t first = int64_t{item} * layer.num_splits + first_split;
  const int64_t query = first * layer.shape.group_size;
  return {p.states + query * (2 + layer.shape.head_dim),
          p.keys + first,
          p.slots + first,
          p.logits + query,
          layer.shape.group_size,
          layer.shape.head_dim};
}

HASHEVICT_DEVICE void store_partial(const HeadPartials& to, int32_t split, int32_t query, int32_t e,
                                    const Partial& partial) {
  float* const state = to.state(split, query);
  simt::store_relaxed(state + 2 + e, partial.value);
  if (e != 0) return;
  simt::store_relaxed(state, partial.maximum);
  simt::store_relaxed(state + 1, partial.sum);
}

/// The slot of a split's candidate, or 0 if the stored number is no slot of the head. Where two rows name one sequence,
/// their blocks share tickets, and the last block may read what another launch, or another use of the workspace, left
/// there.
HASHEVICT_DEVICE int32_t candidate_of(const HeadPartials& from, int32_t split, int32_t capacity) {
  const int32_t slot = simt::load_relaxed(from.slots + split);
  return slot >= 0 && slot < capacity ? slot : 0;
}

/// Merges element `e` of a query over its first `num_splits` splits.
HASHEVICT_DEVICE Partial merge_partials(const HeadPartials& from, int32_t num_splits, int32_t query, int32_t e) {
  Partial all = empty_partial();
  for (int32_t split = 0; split < num_splits; ++split) {
    const float* const state = from.state(split, query);
    all = merge(all, {simt::load_relaxed(state), simt::load_relaxed(state + 1), simt::load_relaxed(state + 2 + e)});
  }
  return all;
}

/// Whether this block is the last of `blocks` that come here with one ticket. The last block resets the ticket to 0 and
/// sees all that the others wrote before. All threads call it. `shared` has one element.
HASHEVICT_DEVICE bool is_last_block(uint32_t* ticket, int32_t blocks, const simt::SharedArray<int32_t>& shared) {
  simt::block_sync();
  if (simt::thread_index() == 0) {
    const auto last = static_cast<uint32_t>(blocks - 1);
    simt::thread_fence();
    const uint32_t before = simt::atomic_increment(ticket, last);
    simt::thread_fence();
    shared.store(0, before == last ? 1 : 0);
  }
  simt::block_sync();
  return shared.load(0) != 0;
}

}  // namespace hashevict::kernels
