// SPDX-License-Identifier: Apache-2.0
#include "kernels/copy.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

Prepared prepare_copy(const Layer& /*layer*/) {
  return simt::prepare(copy_slots);
}

const char* launch_copy(const CopyParams& params, const Queue& queue) {
  return simt::launch(copy_slots, {params.layer.num_splits.value, kCopyParts, kCopyThreads, 0}, params, queue);
}

}  // namespace hashevict::kernels
