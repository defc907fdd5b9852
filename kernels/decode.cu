// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode.cuh"

#include <algorithm>

#include "kernels/attend.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_decode(const DecodeParams& params, void* stream) {
  const Layer& layer = params.evict.layer;
  return visit_tile(layer.group_size, [&](auto tile) {
    constexpr int32_t kTile = decltype(tile)::value;
    const int32_t blocks = params.evict.batch.rows * layer.num_kv_heads * params.partials.num_splits;
    return simt::launch(decode<kTile>, {blocks, 1, kAttendThreads, decode_bytes<kTile>(layer)}, params, stream);
  });
}

int32_t shared_bytes_needed(const Layer& layer) {
  return visit_tile(layer.group_size, [&](auto tile) {
    constexpr int32_t kTile = decltype(tile)::value;
    return std::max(decode_bytes<kTile>(layer), attend_bytes<kTile>(layer.head_dim));
  });
}

}  // namespace hashevict::kernels
