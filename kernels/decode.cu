// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode.cuh"

#include <algorithm>

#include "kernels/attend.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_decode(const DecodeParams& params, void* stream) {
  const Layer& layer = params.evict.layer;
  const bool mma = uses_mma(layer.group_size, params.evict.q.dtype, layer.kv.dtype);
  return visit_tile(layer.group_size, mma, [&](auto tile) {
    constexpr int32_t kTile = decltype(tile)::kQueries;
    const int32_t blocks = params.evict.batch.rows * layer.num_kv_heads * params.partials.num_splits;
    return simt::launch(decode<decltype(tile)>, {blocks, 1, kAttendThreads, decode_bytes<kTile>(layer)}, params,
                        stream);
  });
}

int32_t attention_shared_bytes(const Layer& layer) {
  // Queries may have any type: tensor cores take more at a time.
  const bool mma = uses_mma(layer.group_size, layer.kv.dtype, layer.kv.dtype);
  return visit_tile(layer.group_size, mma, [&](auto tile) {
    constexpr int32_t kTile = decltype(tile)::kQueries;
    return std::max(decode_bytes<kTile>(layer), attend_bytes<kTile>(layer.head_dim));
  });
}

}  // namespace hashevict::kernels
