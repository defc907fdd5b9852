// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/convert.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/encode_kernel.hpp"

namespace hashevict::cpu {
namespace {

/// Encodes tokens [first, first + count) of one head of the tensor, count <= kEncodeTokens.
void encode_block(const EncodeArguments& arguments, const core::Head& head, const float* center, int64_t tensor_head,
                  int64_t first, int32_t count, const Scratch& scratch) {
  const int32_t dim = head.layer->shape.head_dim;
  const int32_t code_bytes = head.layer->rule.code_bytes;
  for (int32_t i = 0; i < count; ++i) {
    float* const row = scratch.rows + int64_t{i} * dim;
    load_row(arguments.x.dtype, arguments.x.at(first + i, tensor_head), arguments.x.stride[2], row, dim);
    if (center == nullptr) continue;
    for (int32_t e = 0; e < dim; ++e) row[e] -= center[e];
  }
  encode_rows({scratch.rows, count, head.projection, dim, head.layer->rule.hash_bits, scratch.codes});
  for (int32_t i = 0; i < count; ++i) {
    unsigned char* const code = arguments.codes.at(first + i, tensor_head);
    for (int32_t b = 0; b < code_bytes; ++b) code[b * arguments.codes.stride[2]] = scratch.codes[i * code_bytes + b];
  }
}

}  // namespace

void CpuBackend::encode(const EncodeArguments& arguments, hashevict_stream /*stream*/) {
  const core::Layer& layer = storage_.layer(arguments.layer);
  const int32_t per_kv_head = arguments.queries ? layer.shape.group_size : 1;
  const int64_t heads = int64_t{layer.shape.num_kv_heads} * per_kv_head;
  const int64_t blocks = (arguments.tokens + kEncodeTokens - 1) / kEncodeTokens;
  executor_.for_each(blocks * heads, [&](int64_t item, int32_t worker) {
    const int64_t tensor_head = item % heads;
    const int64_t first = item / heads * kEncodeTokens;
    const core::Head head = core::head_of(layer, arguments.sequence, static_cast<int32_t>(tensor_head / per_kv_head));
    const float* center = nullptr;
    if (layer.rule.centered()) {
      const int64_t query = tensor_head % per_kv_head;
      center = arguments.queries ? head.query_centers + query * layer.shape.head_dim : head.key_centers;
    }
    const auto count = static_cast<int32_t>(std::min<int64_t>(kEncodeTokens, arguments.tokens - first));
    encode_block(arguments, head, center, tensor_head, first, count, workspace_.scratch(worker));
  });
}

}  // namespace hashevict::cpu
