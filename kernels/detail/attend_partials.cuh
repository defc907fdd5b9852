// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_state.cuh"

/// Results that the blocks of a head leave in the workspace for its last block. All accesses are relaxed: each number
/// is written once and read by a different block.
namespace hashevict::kernels {

/// The workspace of one KV head of one item.
struct HeadPartials {
  float* values;   ///< [splits, G, head_dim]
  float* maxima;   ///< [splits, G]
  float* sums;     ///< [splits, G]
  uint64_t* keys;  ///< [splits]
  int32_t* slots;  ///< [splits]
  float* logits;   ///< [splits, G]
};

HASHEVICT_DEVICE HeadPartials partials_of(const Partials& p, const Layer& layer, int32_t item, int32_t first_split) {
  const int64_t first = int64_t{item} * layer.num_splits.value + first_split;
  const int64_t query = first * layer.shape.group_size;
  return {p.values + query * layer.shape.head_dim,
          p.maxima + query,
          p.sums + query,
          p.keys + first,
          p.slots + first,
          p.logits + query};
}

/// Stores elements [e, e + 4) of a split's result for a query, and with the first ones its maximum and its sum.
/// @param n split * G + query
HASHEVICT_DEVICE void store_partial(const HeadPartials& to, int64_t n, int32_t head_dim, int32_t e,
                                    const PartialQuad& partial) {
  simt::Bytes16 bytes;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) bytes.words[i] = simt::bits_of_float(partial.values[i]);
  simt::store16_relaxed(to.values + n * head_dim + e, bytes);
  if (e != 0) return;
  simt::store_relaxed(to.maxima + n, partial.maximum);
  simt::store_relaxed(to.sums + n, partial.sum);
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
