// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_cluster.cuh"

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Calls `visitor(kernel, bytes)`; bytes(size) is the dynamic shared memory of a block in a cluster of that size.
template <class Visitor>
auto visit_decode_cluster(const Layer& layer, DType query_dtype, const Visitor& visitor) {
  return visit_shape(layer.shape, query_dtype, [&](auto shape) {
    using Shape = decltype(shape);
    return visitor(decode_cluster<Shape>, [&](int32_t size) { return decode_cluster_bytes<Shape>(layer, size); });
  });
}

}  // namespace

Prepared prepare_decode_cluster(const Layer& layer) {
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_decode_cluster(layer, dtype, [](auto kernel, const auto& bytes) {
      return simt::prepare_clusters(kernel, kAttendThreads, bytes);
    });
  });
}

int32_t decode_cluster_size(const DecodeParams& params, const Clusters& clusters) {
  const Layer& layer = params.evict.layer;
  if (clusters.blocks == 0 || !rows_are_aligned(layer)) return 0;
  int32_t size = 1;
  while (size < clusters.blocks && size < most_splits(layer)) size *= 2;
  const int64_t wanted = int64_t{params.evict.batch.rows} * layer.shape.num_kv_heads;
  if (size == clusters.blocks && 2 * size <= most_splits(layer) && wanted <= clusters.twice_as_large) size *= 2;
  return wanted * size <= INT32_MAX ? size : 0;
}

const char* launch_decode_cluster(const DecodeParams& params, int32_t cluster_size, const Queue& queue) {
  const Layer& layer = params.evict.layer;
  const int32_t blocks = params.evict.batch.rows * layer.shape.num_kv_heads * cluster_size;
  return visit_decode_cluster(layer, params.evict.q.dtype, [&](auto kernel, const auto& bytes) {
    return simt::launch(kernel, {blocks, 1, kAttendThreads, bytes(cluster_size), cluster_size}, params, queue);
  });
}

HASHEVICT_CLOCKS_OF(decode_cluster);

}  // namespace hashevict::kernels
