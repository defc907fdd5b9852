// SPDX-License-Identifier: Apache-2.0
#include "core/query_window.hpp"
#include "cuda/cuda_backend.hpp"
#include "cuda/params.hpp"

namespace hashevict::cuda {

void CudaBackend::prefill(const core::Step& step, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const kernels::Layer& at = layer(step.layer);
  kernels::PrefillParams params{
      .evict = evict_params(step, storage_.settings, at, true),
      .mode = step.prefill_mode,
      .window = core::query_window(step, storage_.layer_settings(step.layer)),
      .by_prompt_mean = storage_.settings.config.centering == HASHEVICT_CENTERING_PROMPT ? 1 : 0,
      .key_codes = nullptr,
      .query_codes = nullptr,
      .scores = nullptr};
  workspace_.lend(params);
  check_launch(kernels::launch_prefill(params, stream), "prefill");
}

}  // namespace hashevict::cuda
