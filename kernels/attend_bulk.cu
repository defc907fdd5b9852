// SPDX-License-Identifier: Apache-2.0
#include "kernels/attend_bulk.cuh"

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Calls `visitor(kernel, dynamic shared memory of a block)`. @return its result; `none` where only one block with its
/// ring would fit on a multiprocessor: that block would leave memory idle while it starts and while it merges
template <class Result, class Visitor>
Result visit_attend_bulk(const Layer& layer, DType query_dtype, const Result& none, const Visitor& visitor) {
  return visit_shape(layer.shape, query_dtype, [&](auto shape) -> Result {
    using Shape = decltype(shape);
    if constexpr (RingShape<Shape>::kFitsTwice) {
      return visitor(attend_bulk<Shape>, attend_bulk_bytes<Shape>(layer.shape.head_dim));
    } else {
      return none;
    }
  });
}

}  // namespace

Prepared prepare_attend_bulk(const Layer& layer) {
  const Prepared nothing = simt::all_of({});
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_attend_bulk(layer, dtype, nothing,
                             [](auto kernel, int32_t bytes) { return simt::prepare_bulk(kernel, bytes); });
  });
}

bool can_attend_bulk(const AttendParams& params) {
  const bool has_kernel = visit_attend_bulk(params.layer, params.q.dtype, false, [](auto, int32_t) { return true; });
  return has_kernel && rows_are_aligned(params.layer);
}

const char* launch_attend_bulk(const AttendParams& params, const Queue& queue) {
  const Layer& layer = params.layer;
  const int32_t blocks = params.split != 0 ? layer.num_splits.value : layer.shape.num_kv_heads;
  const char* const nothing = nullptr;
  return visit_attend_bulk(layer, params.q.dtype, nothing, [&](auto kernel, int32_t bytes) {
    return simt::launch(kernel, {params.batch.tokens * blocks, 1, kAttendThreads, bytes}, params, queue);
  });
}

HASHEVICT_CLOCKS_OF(attend_bulk);

}  // namespace hashevict::kernels
