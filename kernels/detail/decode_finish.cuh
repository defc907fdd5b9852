// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/attend_partials.cuh"
#include "kernels/detail/decode_step.cuh"

/// What the last block of a head does, once every split has left its partial result and its candidate.
namespace hashevict::kernels {

/// What decode() holds in shared memory beside the token's codes and attention.
struct DecodeShared {
  simt::SharedArray<float> logits;    ///< [G], of the new token
  simt::SharedArray<int32_t> chosen;  ///< [1], the new token's slot
  simt::SharedArray<int32_t> is_last;
};

HASHEVICT_HOST_DEVICE inline int32_t decode_shared_bytes(const Layer& layer) {
  return step_bytes(layer) + simt::shared_bytes<float>(layer.group_size) + 2 * simt::shared_bytes<int32_t>(1);
}

/// After the token's codes, which come first.
HASHEVICT_DEVICE DecodeShared take_decode_shared(simt::SharedMemory& memory, const Layer& layer) {
  const auto logits = memory.take<float>(layer.group_size);
  const auto chosen = memory.take<int32_t>(1);
  return {logits, chosen, memory.take<int32_t>(1)};
}

/// The slot of the token: the next one or, of the candidates of all splits, the one with the largest key. All threads
/// find it in `shared.chosen` after their next barrier.
HASHEVICT_DEVICE void choose_slot(const Layer& layer, const DecodeItem& item, const HeadPartials& partials,
                                  int32_t num_splits, const DecodeShared& shared) {
  if (!is_full(layer, item)) {
    if (simt::thread_index() == 0) shared.chosen.store(0, item.position);
    return;
  }
  Candidate best{0, layer.num_sink_tokens};
  for (int32_t split = simt::thread_index(); split < num_splits; split += kAttendThreads) {
    const uint64_t key = simt::load_relaxed(partials.keys + split);
    if (key > best.key) best = {key, simt::load_relaxed(partials.slots + split)};
  }
  const uint64_t winner = simt::block_max<kAttendThreads>(best.key);
  // No key at all: cannot be, unless two rows name one sequence.
  if (winner == 0 ? simt::thread_index() == 0 : best.key == winner) shared.chosen.store(0, best.slot);
}

/// Element of a token's vector as the cache will hold it.
HASHEVICT_DEVICE float stored_element(const Vectors& x, int32_t dtype, const DecodeItem& item, int32_t e) {
  const float value =
      load_element(x.data, x.dtype, item.token * x.stride[0] + item.kv_head * x.stride[1] + e * x.stride[2]);
  return dtype == x.dtype ? value : round_to(dtype, value);
}

/// Logits of the new token: a warp a query.
HASHEVICT_DEVICE void score_token(const DecodeParams& p, const DecodeItem& item, const DecodeShared& shared) {
  const Layer& layer = p.evict.layer;
  const Vectors& q = p.evict.q;
  for (int32_t query = simt::warp(); query < layer.group_size; query += kAttendWarps) {
    const int64_t head = int64_t{item.kv_head} * layer.group_size + query;
    float dot = 0.0F;
    for (int32_t e = simt::lane(); e < layer.head_dim; e += simt::kWarpSize) {
      const float of_query =
          load_element(q.data, q.dtype, item.token * q.stride[0] + head * q.stride[1] + e * q.stride[2]);
      dot = simt::fma(of_query, stored_element(p.evict.k, layer.kv.dtype, item, e), dot);
    }
    for (int32_t step = simt::kWarpSize / 2; step > 0; step /= 2) {
      dot = simt::add(dot, simt::shuffle_xor(simt::kFullMask, dot, step));
    }
    if (simt::lane() == 0) shared.logits.store(query, logit_of(p.softmax, dot));
  }
}

/// One slot, or the new token, as a partial result.
HASHEVICT_DEVICE Partial partial_of(float logit, float value) {
  return {logit, 1.0F, value};
}

/// Element of a layer's values; tokens that came before this one may have written it.
HASHEVICT_DEVICE float load_value(const Slots& kv, int64_t index) {
  if (kv.dtype == HASHEVICT_FLOAT32) return simt::load(static_cast<const float*>(kv.values) + index);
  return widen(simt::load(static_cast<const uint16_t*>(kv.values) + index), kv.dtype);
}

/// Adds the candidates that stay to what their splits left out.
HASHEVICT_DEVICE Partial add_losers(Partial all, const DecodeParams& p, const Head& head, const HeadPartials& partials,
                                    int32_t num_splits, int32_t victim, int32_t query, int32_t e) {
  const Slots& kv = p.evict.layer.kv;
  for (int32_t split = 0; split < num_splits; ++split) {
    if (simt::load_relaxed(partials.keys + split) == 0) continue;
    const int32_t slot = simt::load_relaxed(partials.slots + split);
    if (slot == victim) continue;
    const float logit = simt::load_relaxed(partials.logits + int64_t{split} * partials.group_size + query);
    all = merge(all, partial_of(logit, load_value(kv, head.address(slot) + e)));
  }
  return all;
}

/// Chooses the token's slot, writes the results, then overwrites the slot. Begins and ends with a barrier.
HASHEVICT_NOINLINE void finish_token(const DecodeParams& p, DecodeItem item, int32_t num_splits) {
  const Layer& layer = p.evict.layer;
  simt::SharedMemory memory;
  take_step_shared(memory, layer);
  const DecodeShared shared = take_decode_shared(memory, layer);
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.kv_head);
  simt::block_sync();
  choose_slot(layer, item, partials, num_splits, shared);
  score_token(p, item, shared);
  simt::block_sync();
  const int32_t slot = shared.chosen.load(0);
  const Head head = head_of(layer, item.sequence, item.kv_head);
  for_elements(layer.group_size, layer.head_dim, [&](int32_t query, int32_t e) {
    Partial all = merge_partials(partials, num_splits, query, e);
    if (is_full(layer, item)) all = add_losers(all, p, head, partials, num_splits, slot, query, e);
    all = merge(all, partial_of(shared.logits.load(query), stored_element(p.evict.v, layer.kv.dtype, item, e)));
    store_result({p.out, p.lse}, item.token, item.kv_head * layer.group_size + query, e, all);
  });
  simt::block_sync();
  visit_bits(layer.facts.hash_bits, [&](auto bits) { overwrite<decltype(bits)::value>(p.evict, item, slot); });
  simt::block_sync();
}

}  // namespace hashevict::kernels
