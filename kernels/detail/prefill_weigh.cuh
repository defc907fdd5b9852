// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/step.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kWeighThreads = 128;

/// Importances of a prompt's keys, for rules that weigh keys. Grid: (tokens / kWeighThreads, H), kWeighThreads threads.
/// Threads: a token each.
/// Bytes: keys once, in 16-byte loads where they are aligned; the head's weights, which a warp reads together.
/// Bound: memory; each thread has one chain of head_dim fma.
/// Races: a thread writes its own token's number alone.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kWeighThreads) prefill_weigh(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const int32_t token = simt::block_x() * kWeighThreads + simt::thread_index();
  const int32_t kv_head = simt::block_y();
  if (token >= p.evict.batch.tokens) return;
  const Vectors& k = p.evict.k;
  const int64_t vector = token * k.stride[0] + kv_head * k.stride[1];
  const bool aligned = k.stride[2] == 1 && is_aligned(k.data, k.dtype, vector);
  const float* const weights = layer.state.importance_weights + int64_t{kv_head} * (layer.shape.head_dim + 1);
  const float importance = weigh_key(weights, layer.shape.head_dim, [&](int32_t first, float(&key)[8]) {
    if (aligned) return load_eight(k.data, k.dtype, vector + first, key);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i) key[i] = load_element(k.data, k.dtype, vector + (first + i) * k.stride[2]);
  });
  simt::store(p.importances + int64_t{token} * layer.shape.num_kv_heads + kv_head, importance);
}

}  // namespace hashevict::kernels
