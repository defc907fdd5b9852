// SPDX-License-Identifier: Apache-2.0
#include "kernels/prefill_attend.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

Prepared prepare_prefill_attend(const Layer& layer) {
  return simt::for_queries_of_any_type([&](DType dtype) {
    return visit_tile_shape(layer.shape, dtype,
                            [](auto shape) { return simt::prepare(prefill_attend<decltype(shape)>); });
  });
}

const char* launch_prefill_attend(const PrefillParams& params, const Queue& queue) {
  const core::Shape& shape = params.evict.layer.shape;
  const auto tiles = static_cast<int32_t>(num_tiles(params.evict.batch, shape.group_size));
  return visit_tile_shape(shape, params.evict.q.dtype, [&](auto example) {
    const simt::Extents extents{tiles, shape.num_kv_heads * tiles_of_group(shape.group_size), kAttendThreads,
                                tile_bytes(example)};
    return simt::launch(prefill_attend<decltype(example)>, extents, params, queue);
  });
}

int32_t prompt_attention_shared_bytes(const Layer& layer) {
  int32_t most = 0;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    const int32_t bytes = visit_tile_shape(layer.shape, dtype, [](auto shape) { return tile_bytes(shape); });
    if (bytes > most) most = bytes;
  }
  return most;
}

}  // namespace hashevict::kernels
