// SPDX-License-Identifier: Apache-2.0
#include "core/stripes.hpp"
#include "cuda/cuda_backend.hpp"

namespace hashevict::cuda {

void CudaBackend::reset(int32_t sequence, hashevict_stream stream) {
  const CurrentDevice current{device()};
  for (int32_t index = 0; index < storage_.settings.config.num_layers; ++index) {
    for (const core::Stripe& stripe : core::stripes_of(storage_, index)) {
      if (stripe.bytes > 0) fill(stripe.of(sequence), stripe.empty, static_cast<uint64_t>(stripe.bytes), stream);
    }
  }
}

void CudaBackend::fork(int32_t source, int32_t target, hashevict_stream stream) {
  const CurrentDevice current{device()};
  for (int32_t index = 0; index < storage_.settings.config.num_layers; ++index) {
    check_launch(kernels::launch_copy({layer(index), source, target}, stream), "fork");
    for (const core::Stripe& stripe : core::stripes_of(storage_, index)) {
      if (stripe.bytes == 0) continue;
      copy_within_device(stripe.of(target), stripe.of(source), static_cast<uint64_t>(stripe.bytes), stream);
    }
  }
}

}  // namespace hashevict::cuda
