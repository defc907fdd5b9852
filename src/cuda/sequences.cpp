// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"

namespace hashevict::cuda {

void CudaBackend::reset(int32_t sequence, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const bool all = sequence == core::kAll;
  const int64_t sequences = all ? storage_.settings.shape.num_sequences : 1;
  for (int32_t index = 0; index < storage_.settings.shape.num_layers; ++index) {
    for (const core::StatePart& part : storage_.parts(index)) {
      if (!part.of_sequences() || part.bytes() == 0) continue;
      fill(part.of(all ? 0 : sequence), part.empty, static_cast<uint64_t>(part.bytes() * sequences), stream);
    }
  }
}

void CudaBackend::fork(int32_t source, int32_t target, hashevict_stream stream) {
  const CurrentDevice current{device()};
  for (int32_t index = 0; index < storage_.settings.shape.num_layers; ++index) {
    check_launch(kernels::launch_copy({storage_.layer(index), source, target}, queue(stream)), "fork");
    for (const core::StatePart& part : storage_.parts(index)) {
      if (!part.of_sequences() || part.bytes() == 0) continue;
      const auto bytes = static_cast<uint64_t>(part.bytes());
      if (part.is_forked()) {
        copy_within_device(part.of(target), part.of(source), bytes, stream);
      } else {
        fill(part.of(target), part.empty, bytes, stream);
      }
    }
  }
}

}  // namespace hashevict::cuda
