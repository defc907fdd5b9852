// SPDX-License-Identifier: Apache-2.0
#include "kernels/attend.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Calls `visitor(kernel, dynamic shared memory of a block)` with the kernel for queries of a type.
template <class Visitor>
auto visit_attend(const Layer& layer, DType query_dtype, const Visitor& visitor) {
  const bool mma = uses_mma(layer.shape.group_size, query_dtype, layer.shape.format.dtype);
  return visit_tile(layer.shape.group_size, mma, [&](auto tile) {
    using Tile = decltype(tile);
    const int32_t bytes = attend_bytes<Tile::kQueries>(layer.shape.head_dim);
    return visit_rows<Tile::kQueries, Tile::kMma>(layer.shape.format.dtype, layer.shape.head_dim,
                                                  [&](auto shape) { return visitor(attend<decltype(shape)>, bytes); });
  });
}

}  // namespace

Prepared prepare_attend(const Layer& layer) {
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_attend(layer, dtype, [](auto kernel, int32_t /*bytes*/) { return simt::prepare(kernel); });
  });
}

const char* launch_attend(const AttendParams& params, const Queue& queue) {
  const Layer& layer = params.layer;
  const int32_t blocks = params.split != 0 ? layer.num_splits : layer.shape.num_kv_heads;
  return visit_attend(layer, params.q.dtype, [&](auto kernel, int32_t bytes) {
    const simt::Extents extents{params.batch.tokens * blocks, 1, kAttendThreads, bytes};
    return simt::launch(kernel, extents, params, queue);
  });
}

}  // namespace hashevict::kernels
