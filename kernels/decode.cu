// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode.cuh"

#include <algorithm>

#include "kernels/attend.cuh"
#include "kernels/detail/clocks.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Calls `visitor(kernel, dynamic shared memory of a block)` with the kernel for queries of a type.
template <class Visitor>
auto visit_decode(const Layer& layer, DType query_dtype, const Visitor& visitor) {
  return visit_shape(layer.shape, query_dtype, [&](auto shape) {
    return visitor(decode<decltype(shape)>, decode_bytes<decltype(shape)>(layer));
  });
}

}  // namespace

Prepared prepare_decode(const Layer& layer) {
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_decode(layer, dtype, [](auto kernel, int32_t /*bytes*/) { return simt::prepare(kernel); });
  });
}

const char* launch_decode(const DecodeParams& params, const Queue& queue) {
  const int32_t cluster_size = decode_cluster_size(params, simt::clusters_of(queue));
  if (cluster_size > 0) return launch_decode_cluster(params, cluster_size, queue);
  const Layer& layer = params.evict.layer;
  const int32_t blocks = params.evict.batch.rows * layer.num_splits.value;
  return visit_decode(layer, params.evict.q.dtype, [&](auto kernel, int32_t bytes) {
    return simt::launch(kernel, {blocks, 1, kAttendThreads, bytes}, params, queue);
  });
}

int32_t attention_shared_bytes(const Layer& layer) {
  // The type of the queries is not known here. Assume that of the keys: tensor cores need the most shared memory.
  return visit_shape(layer.shape, layer.shape.format.dtype, [&](auto shape) {
    using Shape = decltype(shape);
    return std::max(decode_bytes<Shape>(layer),
                    attend_bytes<Shape::kTile>(layer.shape.head_dim, FifoShape<Shape>::kWords));
  });
}

HASHEVICT_CLOCKS_OF(decode);

}  // namespace hashevict::kernels
