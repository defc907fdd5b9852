// SPDX-License-Identifier: Apache-2.0
#include "kernels/evict.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_evict(const EvictParams& params, void* stream) {
  const Layer& layer = params.layer;
  return visit_bits(layer.facts.hash_bits, [&](auto bits) {
    const simt::Extents extents{params.batch.rows, layer.num_kv_heads, kEvictThreads, step_bytes(layer)};
    return simt::launch(evict<decltype(bits)::value>, extents, params, stream);
  });
}

}  // namespace hashevict::kernels
