// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"
#include "cuda/kernel_arguments.hpp"

namespace hashevict::cuda {

void CudaBackend::attend(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const kernels::AttendParams params{
      .layer = storage_.layer(step.layer),
      .batch = batch_of(step, storage_.layer(step.layer)),
      .q = vectors(step.q),
      .out = mutable_vectors(step.out),
      .lse = numbers<float>(step.lse),
      .softmax = {step.softmax_scale, step.logit_soft_cap},
      .partials = workspace_.partials(),
      // Many tokens occupy the device without splits. The workspace has room for as many tokens as there are sequences.
      .split = step.tokens <= storage_.settings.shape.num_sequences ? 1 : 0,
      .after = step.attend_queries == HASHEVICT_QUERIES_AFTER ? 1 : 0};
  check_launch(kernels::launch_attend(params, queue(stream)), "attend");
}

}  // namespace hashevict::cuda
