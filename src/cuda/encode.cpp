// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "cuda/cuda_backend.hpp"
#include "cuda/kernel_arguments.hpp"

namespace hashevict::cuda {

void CudaBackend::encode(const EncodeArguments& arguments, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const core::Layer& at = storage_.layer(arguments.layer);
  const int32_t heads = arguments.queries ? at.shape.num_kv_heads * at.shape.group_size : at.shape.num_kv_heads;
  const float* const centers = arguments.queries ? at.state.query_centers : at.state.key_centers;
  const int32_t sharing = arguments.queries ? at.shape.group_size : 1;
  const kernels::EncodeParams params{
      .x = vectors(arguments.x),
      .center = centers == nullptr ? nullptr : centers + int64_t{arguments.sequence} * heads * at.shape.head_dim,
      .projection = at.state.projection,
      .codes = arguments.codes.data,
      .codes_stride = {arguments.codes.stride[0], arguments.codes.stride[1], arguments.codes.stride[2]},
      .tokens = static_cast<int32_t>(arguments.tokens),
      .heads = heads,
      .heads_per_projection = at.rule.num_projections > 1 ? sharing : std::numeric_limits<int32_t>::max(),
      .head_dim = at.shape.head_dim,
      .hash_bits = at.rule.hash_bits,
      .batch = {}};
  check_launch(kernels::launch_encode(params, queue(stream)), "encode");
}

}  // namespace hashevict::cuda
