// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"
#include "cuda/kernel_arguments.hpp"

namespace hashevict::cuda {

void CudaBackend::evict(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const auto params = evict_params(step, storage_.layer(step.layer), false);
  check_launch(kernels::launch_evict(params, queue(stream)), "evict");
}

void CudaBackend::append(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const auto params = evict_params(step, storage_.layer(step.layer), true);
  check_launch(kernels::launch_evict(params, queue(stream)), "append");
}

}  // namespace hashevict::cuda
