// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cuda/cuda_backend.hpp"
#include "cuda/kernel_arguments.hpp"

namespace hashevict::cuda {

void CudaBackend::prefill(const core::Step& step, hashevict_stream stream) {
  const core::Layer& at = storage_.layer(step.layer);
  check_rows(step,
             std::max(at.num_splits.value, at.shape.num_kv_heads + at.shape.num_qo_heads));  // or a block for a centre
  const CurrentDevice current{device()};
  kernels::PrefillParams params{.evict = evict_params(step, at, true),
                                .mode = step.prefill_mode,
                                .window = step.prefill_window,
                                .by_prompt_mean = at.rule.centering == HASHEVICT_CENTERING_PROMPT ? 1 : 0,
                                .key_codes = nullptr,
                                .query_codes = nullptr,
                                .importances = nullptr,
                                .scores = nullptr,
                                .out = mutable_vectors(step.out),
                                .lse = numbers<float>(step.lse),
                                .softmax = {step.softmax_scale, step.logit_soft_cap},
                                .streamed = step.prefill_attention == HASHEVICT_PREFILL_STREAMED ? 1 : 0};
  workspace_.lend(params);
  check_launch(kernels::launch_prefill(params, queue(stream)), "prefill");
}

}  // namespace hashevict::cuda
