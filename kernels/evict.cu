// SPDX-License-Identifier: Apache-2.0
#include "kernels/evict.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

Prepared prepare_evict(const Layer& layer) {
  return visit_bits(layer.rule.hash_bits, [](auto bits) { return simt::prepare(evict<decltype(bits)::value>); });
}

const char* launch_evict(const EvictParams& params, const Queue& queue) {
  const Layer& layer = params.layer;
  return visit_bits(layer.rule.hash_bits, [&](auto bits) {
    const simt::Extents extents{params.batch.rows, layer.shape.num_kv_heads, kEvictThreads, step_bytes(layer)};
    return simt::launch(evict<decltype(bits)::value>, extents, params, queue);
  });
}

}  // namespace hashevict::kernels
