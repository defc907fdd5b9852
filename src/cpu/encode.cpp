// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "cpu/convert.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/encode_kernel.hpp"

namespace hashevict::cpu {

void CpuBackend::encode(const EncodeArguments& arguments, hashevict_stream /*stream*/) {
  const core::Settings& settings = storage_.settings;
  const int32_t dim = settings.config.head_dim;
  const int32_t per_kv_head = arguments.queries ? settings.group_size : 1;
  const int64_t heads = arguments.queries ? settings.config.num_qo_heads : settings.config.num_kv_heads;
  executor_.for_each(arguments.tokens * heads, [&](int64_t item, int32_t worker) {
    const int64_t token = item / heads;
    const int64_t index = item % heads;
    const Head head =
        make_head(storage_, arguments.layer, arguments.sequence, static_cast<int32_t>(index / per_kv_head));
    const Scratch scratch = workspace_.scratch(worker);
    load_row(arguments.x.dtype, arguments.x.at(token, index), arguments.x.stride[2], scratch.vector, dim);
    if (settings.centered()) {
      const float* const center =
          arguments.queries ? head.query_centers + (index % per_kv_head) * dim : head.key_center;
      for (int32_t e = 0; e < dim; ++e) scratch.vector[e] -= center[e];
    }
    encode_rows({scratch.vector, 1, head.projection, dim, settings.config.hash_bits, scratch.probe});
    unsigned char* const code = arguments.codes.at(token, index);
    for (int32_t i = 0; i < settings.code_bytes; ++i) code[i * arguments.codes.stride[2]] = scratch.probe[i];
  });
}

}  // namespace hashevict::cpu
