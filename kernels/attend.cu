// SPDX-License-Identifier: Apache-2.0
#include "kernels/attend.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_attend(const AttendParams& params, void* stream) {
  const Layer& layer = params.layer;
  const bool mma = uses_mma(layer.group_size, params.q.dtype, layer.kv.dtype);
  return visit_tile(layer.group_size, mma, [&](auto tile) {
    using Tile = decltype(tile);
    constexpr int32_t kTile = Tile::kQueries;
    const int32_t blocks = params.split != 0 ? params.partials.num_splits : 1;
    const simt::Extents extents{params.batch.tokens * layer.num_kv_heads * blocks, 1, kAttendThreads,
                                attend_bytes<kTile>(layer.head_dim)};
    return visit_rows<kTile, Tile::kMma>(layer.kv.dtype, layer.head_dim, [&](auto shape) {
      return simt::launch(attend<decltype(shape)>, extents, params, stream);
    });
  });
}

}  // namespace hashevict::kernels
