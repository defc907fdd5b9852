// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "cuda/cuda_backend.hpp"
#include "cuda/params.hpp"

namespace hashevict::cuda {

void CudaBackend::encode(const EncodeArguments& arguments, hashevict_stream stream) {
  const CurrentDevice current{device()};
  const kernels::Layer& at = layer(arguments.layer);
  const int32_t heads = arguments.queries ? at.num_kv_heads * at.group_size : at.num_kv_heads;
  const float* const centers = arguments.queries ? at.state.query_centers : at.state.key_centers;
  const int32_t sharing = arguments.queries ? at.group_size : 1;
  const kernels::EncodeParams params{
      .x = vectors(arguments.x),
      .center = centers == nullptr ? nullptr : centers + int64_t{arguments.sequence} * heads * at.head_dim,
      .projection = at.state.projection,
      .codes = arguments.codes.data,
      .codes_stride = {arguments.codes.stride[0], arguments.codes.stride[1], arguments.codes.stride[2]},
      .tokens = static_cast<int32_t>(arguments.tokens),
      .heads = heads,
      .heads_per_projection = at.projection_per_head != 0 ? sharing : std::numeric_limits<int32_t>::max(),
      .head_dim = at.head_dim,
      .hash_bits = at.facts.hash_bits,
      .batch = {}};
  check_launch(kernels::launch_encode(params, stream), "encode");
}

}  // namespace hashevict::cuda
