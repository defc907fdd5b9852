// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/attend_partials.cuh"
#include "kernels/detail/decode_step.cuh"

/// The work of a head's last block, once every split has left its partial result and its candidate.
namespace hashevict::kernels {

/// Shared memory of decode() beside the token's codes and attention.
struct DecodeShared {
  simt::SharedArray<float> logits;    ///< [G] of the new token
  simt::SharedArray<int32_t> chosen;  ///< [1] the new token's slot
  simt::SharedArray<int32_t> is_last;
};

HASHEVICT_HOST_DEVICE inline int32_t decode_shared_bytes(const Layer& layer) {
  return step_bytes(layer) + simt::shared_bytes<float>(layer.shape.group_size) + 2 * simt::shared_bytes<int32_t>(1);
}

/// Lies behind the token's codes.
HASHEVICT_DEVICE DecodeShared take_decode_shared(simt::SharedMemory& memory, const Layer& layer) {
  const auto logits = memory.take<float>(layer.shape.group_size);
  const auto chosen = memory.take<int32_t>(1);
  return {logits, chosen, memory.take<int32_t>(1)};
}

/// Chooses the token's slot: the next free one, or the candidate with the largest key among all splits. All threads
/// find it in `shared.chosen` after their next barrier.
HASHEVICT_DEVICE void choose_slot(const Head& head, const DecodeItem& item, const HeadPartials& partials,
                                  int32_t num_splits, const DecodeShared& shared) {
  if (!is_full(item)) {
    if (simt::thread_index() == 0) shared.chosen.store(0, item.position);
    return;
  }
  Candidate best{0, head.num_sink_tokens};
  for (int32_t split = simt::thread_index(); split < num_splits; split += kAttendThreads) {
    const uint64_t key = simt::load_relaxed(partials.keys + split);
    if (key > best.key) best = {key, candidate_of(partials, split, item.capacity)};
  }
  const uint64_t winner = simt::block_max<kAttendThreads>(best.key);
  // No key at all: possible only if two rows name one sequence, or a forged state was loaded.
  if (winner == 0 ? simt::thread_index() == 0 : best.key == winner) shared.chosen.store(0, best.slot);
}

/// An element of a token's vector, rounded to the type of the cache.
HASHEVICT_DEVICE float stored_element(const Vectors& x, DType dtype, const DecodeItem& item, int32_t e) {
  const float value =
      load_element(x.data, x.dtype, item.token * x.stride[0] + item.kv_head * x.stride[1] + e * x.stride[2]);
  return dtype == x.dtype ? value : round_to(dtype, value);
}

/// Logits of the new token; a warp takes a query.
HASHEVICT_DEVICE void score_token(const DecodeParams& p, const DecodeItem& item, const DecodeShared& shared) {
  const Layer& layer = p.evict.layer;
  const Vectors& q = p.evict.q;
  for (int32_t query = simt::warp(); query < layer.shape.group_size; query += kAttendWarps) {
    const int64_t head = int64_t{item.kv_head} * layer.shape.group_size + query;
    float dot = 0.0F;
    for (int32_t e = simt::lane(); e < layer.shape.head_dim; e += simt::kWarpSize) {
      const float of_query =
          load_element(q.data, q.dtype, item.token * q.stride[0] + head * q.stride[1] + e * q.stride[2]);
      dot = simt::fma(of_query, stored_element(p.evict.k, layer.shape.format.dtype, item, e), dot);
    }
    for (int32_t step = simt::kWarpSize / 2; step > 0; step /= 2) {
      dot = simt::add(dot, simt::shuffle_xor(simt::kFullMask, dot, step));
    }
    if (simt::lane() == 0) shared.logits.store(query, logit_of(p.softmax, dot));
  }
}

/// A single slot, or the new token, as a partial result.
HASHEVICT_DEVICE Partial partial_of(float logit, float value) {
  return {logit, 1.0F, value};
}

/// An element of the value at byte `offset`. Plain load: an earlier token of the row may have written it.
HASHEVICT_DEVICE float load_value(const Layer& layer, int64_t offset, int32_t e) {
  return load_element(static_cast<const unsigned char*>(layer.values) + offset, layer.shape.format.dtype, e);
}

/// Adds the losing candidates, which their splits left out.
HASHEVICT_DEVICE Partial add_losers(Partial all, const DecodeParams& p, const Head& head, const HeadPartials& partials,
                                    int32_t num_splits, int32_t victim, int32_t query, int32_t e) {
  for (int32_t split = 0; split < num_splits; ++split) {
    if (simt::load_relaxed(partials.keys + split) == 0) continue;
    const int32_t slot = candidate_of(partials, split, head.capacity);
    if (slot == victim) continue;
    const float logit = simt::load_relaxed(partials.logits + int64_t{split} * partials.group_size + query);
    all = merge(all, partial_of(logit, load_value(p.evict.layer, head.address(slot), e)));
  }
  return all;
}

/// Chooses the token's slot, writes the results, then overwrites the slot. Begins and ends with a barrier.
HASHEVICT_NOINLINE void finish_token(const DecodeParams& p, DecodeItem item, int32_t num_splits) {
  const Layer& layer = p.evict.layer;
  simt::SharedMemory memory;
  take_step_shared(memory, layer);
  const DecodeShared shared = take_decode_shared(memory, layer);
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.first_split);
  const Head head = head_of(layer, item.sequence, item.kv_head);
  simt::block_sync();
  choose_slot(head, item, partials, num_splits, shared);
  score_token(p, item, shared);
  simt::block_sync();
  const int32_t slot = shared.chosen.load(0);
  for_elements(layer.shape.group_size, layer.shape.head_dim, [&](int32_t query, int32_t e) {
    Partial all = merge_partials(partials, num_splits, query, e);
    if (is_full(item)) all = add_losers(all, p, head, partials, num_splits, slot, query, e);
    all =
        merge(all, partial_of(shared.logits.load(query), stored_element(p.evict.v, layer.shape.format.dtype, item, e)));
    store_result({p.out, p.lse}, item.token, item.kv_head * layer.shape.group_size + query, e, all);
  });
  simt::block_sync();
  visit_bits(layer.rule.hash_bits, [&](auto bits) { overwrite<decltype(bits)::value>(p.evict, item, slot); });
  simt::block_sync();
}

}  // namespace hashevict::kernels
