// SPDX-License-Identifier: Apache-2.0
#include "kernels/copy.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_copy(const CopyParams& params, void* stream) {
  const int32_t tiles = (params.layer.capacity + kCopySlots - 1) / kCopySlots;
  return simt::launch(copy_slots, {tiles, params.layer.num_kv_heads, kCopyThreads, 0}, params, stream);
}

}  // namespace hashevict::kernels
