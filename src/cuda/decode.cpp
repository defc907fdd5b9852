// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"
#include "cuda/params.hpp"

namespace hashevict::cuda {

void CudaBackend::decode(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const kernels::DecodeParams params{.evict = evict_params(step, storage_.settings, layer(step.layer), true),
                                     .out = mutable_vectors(step.out),
                                     .lse = numbers<float>(step.lse),
                                     .softmax = {step.softmax_scale, step.logit_soft_cap},
                                     .partials = partials(step.layer)};
  check_launch(kernels::launch_decode(params, stream), "decode");
}

}  // namespace hashevict::cuda
