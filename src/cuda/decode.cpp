// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"
#include "cuda/kernel_arguments.hpp"

namespace hashevict::cuda {

void CudaBackend::decode(const core::Step& step, hashevict_stream stream) {
  const core::Layer& layer = storage_.layer(step.layer);
  check_rows(step, layer.num_splits.value);
  const CurrentDevice current{device()};
  const kernels::DecodeParams params{.evict = evict_params(step, layer, true),
                                     .heads = core::head_arrays(layer),
                                     .out = mutable_vectors(step.out),
                                     .lse = numbers<float>(step.lse),
                                     .softmax = {step.softmax_scale, step.logit_soft_cap},
                                     .partials = workspace_.partials()};
  check_launch(kernels::launch_decode(params, queue(stream)), "decode");
}

}  // namespace hashevict::cuda
