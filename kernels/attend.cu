// SPDX-License-Identifier: Apache-2.0
#include "kernels/attend.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_attend(const AttendParams& params, void* stream) {
  const Layer& layer = params.layer;
  return visit_shape(layer.kv.dtype, layer.head_dim, layer.group_size, [&](auto shape) {
    using Shape = decltype(shape);
    const int32_t blocks = params.split != 0 ? params.partials.num_splits : 1;
    const simt::Extents extents{params.batch.tokens * layer.num_kv_heads * blocks, 1, kAttendThreads,
                                attend_bytes<Shape>(layer.head_dim)};
    return simt::launch(attend<Shape>, extents, params, stream);
  });
}

}  // namespace hashevict::kernels
