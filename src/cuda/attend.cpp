// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"
#include "cuda/params.hpp"

namespace hashevict::cuda {

void CudaBackend::attend(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const kernels::AttendParams params{
      .layer = layer(step.layer),
      .batch = batch_params(step, storage_.settings),
      .q = vectors(step.q),
      .out = mutable_vectors(step.out),
      .lse = numbers<float>(step.lse),
      .softmax = {step.softmax_scale, step.logit_soft_cap},
      .partials = partials(step.layer),
      // Many tokens keep the device busy without splits, and the workspace has room for as many as there are sequences.
      .split = step.tokens <= storage_.settings.config.num_sequences ? 1 : 0};
  check_launch(kernels::launch_attend(params, stream), "attend");
}

}  // namespace hashevict::cuda
