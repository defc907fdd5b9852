// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/element.cuh"
#include "kernels/detail/prefill_row.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kCenterThreads = 512;  ///< at least twice the largest head_dim
inline constexpr int32_t kCenterTokens =
    256;  ///< tokens that are summed in order, from 0, before the sum joins the others

/// Heads that get a centre: those of keys, and those of queries if the call has queries.
HASHEVICT_HOST_DEVICE inline int32_t center_heads(const PrefillParams& p) {
  const Layer& layer = p.evict.layer;
  return p.evict.q.data == nullptr ? layer.shape.num_kv_heads : layer.shape.num_kv_heads * (1 + layer.shape.group_size);
}

/// Sum of one element over tokens [first, end), in order.
HASHEVICT_DEVICE float sum_of(const Vectors& x, int64_t first, int64_t end, int32_t head, int32_t e) {
  const int64_t element = head * x.stride[1] + e * x.stride[2];
  float sum = 0.0F;
  for (int64_t token = first; token < end; ++token) {
    sum = simt::add(sum, load_element(x.data, x.dtype, token * x.stride[0] + element));
  }
  return sum;
}

/// Sets the centres of sequences that start here to the means over their tokens. Grid: (center_heads() a row, 1),
/// kCenterThreads threads; heads of keys come first, then those of queries.
/// Threads: thread s * head_dim + e sums element e over the s-th block of kCenterTokens tokens. Then thread e adds the
/// block sums in order, so that the result does not depend on how many blocks are summed side by side.
/// Bytes: the head's vectors once. Bound: latency of kCenterTokens loads, several blocks of tokens at a time.
/// Races: a block writes its own head's centre alone; barriers enclose the reading of block sums.
/// Budget: 2 KiB shared, below 64 registers, no spills.
HASHEVICT_KERNEL(kCenterThreads) prefill_centers(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const PrefillRow row = prefill_row(p, simt::block_x() / center_heads(p), 0);  // heads differ in the plan alone
  if (!row.sets_centers) return;
  const Layer& layer = p.evict.layer;
  const int32_t index = simt::block_x() % center_heads(p);
  const bool of_keys = index < layer.shape.num_kv_heads;
  const int32_t head = of_keys ? index : index - layer.shape.num_kv_heads;
  const int32_t heads = of_keys ? layer.shape.num_kv_heads : layer.shape.num_kv_heads * layer.shape.group_size;
  const Vectors& x = of_keys ? p.evict.k : p.evict.q;
  const auto block_sums = simt::SharedMemory{}.take<float>(kCenterThreads);
  const int32_t slices = kCenterThreads / layer.shape.head_dim;
  const int32_t slice = simt::thread_index() / layer.shape.head_dim;
  const int32_t e = simt::thread_index() % layer.shape.head_dim;
  float total = 0.0F;
  for (int32_t first = 0; first < row.num_tokens; first += slices * kCenterTokens) {
    const int32_t left = row.num_tokens - first;
    const int32_t own = slice * kCenterTokens;
    if (slice < slices && own < left) {
      const int32_t count = left - own < kCenterTokens ? left - own : kCenterTokens;
      const int64_t start = int64_t{row.first_token} + first + own;
      block_sums.store(simt::thread_index(), sum_of(x, start, start + count, head, e));
    }
    simt::block_sync();
    for (int32_t s = 0; simt::thread_index() < layer.shape.head_dim && s < slices && s * kCenterTokens < left; ++s) {
      total = simt::add(total, block_sums.load(s * layer.shape.head_dim + e));
    }
    simt::block_sync();
  }
  if (simt::thread_index() >= layer.shape.head_dim) return;
  float* const centers = of_keys ? layer.state.key_centers : layer.state.query_centers;
  const int64_t vector = int64_t{row.sequence} * heads + head;
  simt::store(centers + vector * layer.shape.head_dim + e, simt::divide(total, static_cast<float>(row.num_tokens)));
}

}  // namespace hashevict::kernels
