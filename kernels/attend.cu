// SPDX-License-Identifier: Apache-2.0
#include "kernels/attend.cuh"

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Calls `visitor(kernel, dynamic shared memory of a block)` with the kernel for queries of a type.
template <class Visitor>
auto visit_attend(const Layer& layer, DType query_dtype, const Visitor& visitor) {
  return visit_shape(layer.shape, query_dtype, [&](auto shape) {
    using Shape = decltype(shape);
    return visitor(attend<Shape>, attend_bytes<Shape::kTile>(layer.shape.head_dim, FifoShape<Shape>::kWords));
  });
}

}  // namespace

Prepared prepare_attend(const Layer& layer) {
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_attend(layer, dtype, [](auto kernel, int32_t /*bytes*/) { return simt::prepare(kernel); });
  });
}

const char* launch_attend(const AttendParams& params, const Queue& queue) {
  if (simt::has_bulk_copies(queue) && can_attend_bulk(params)) return launch_attend_bulk(params, queue);
  const Layer& layer = params.layer;
  const int32_t blocks = params.split != 0 ? layer.num_splits.value : layer.shape.num_kv_heads;
  return visit_attend(layer, params.q.dtype, [&](auto kernel, int32_t bytes) {
    const simt::Extents extents{params.batch.tokens * blocks, 1, kAttendThreads, bytes};
    return simt::launch(kernel, extents, params, queue);
  });
}

HASHEVICT_CLOCKS_OF(attend);

}  // namespace hashevict::kernels
