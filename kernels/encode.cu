// SPDX-License-Identifier: Apache-2.0
#include "kernels/encode.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

Prepared prepare_encode(const Layer& layer) {
  return visit_bits(layer.rule.hash_bits, [](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    return simt::all_of({simt::prepare(encode_step<kBits>), simt::prepare(encode_bulk<kBits>)});
  });
}

const char* launch_encode(const EncodeParams& params, const Queue& queue) {
  constexpr int64_t kFewVectors = 4096;  // about as many blocks as a device holds at once
  return visit_bits(params.hash_bits, [&](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    if (int64_t{params.tokens} * params.heads <= kFewVectors) {
      const simt::Extents extents{params.tokens, params.heads, kCodeWords<kBits> * 32,
                                  simt::shared_bytes<float>(params.head_dim)};
      return simt::launch(encode_step<kBits>, extents, params, queue);
    }
    const int32_t tiles = core::num_parts(params.tokens, kTileTokens);
    const simt::Extents extents{tiles, params.heads, BulkShape<kBits>::kThreads, encode_tile_bytes(params.head_dim)};
    return simt::launch(encode_bulk<kBits>, extents, params, queue);
  });
}

}  // namespace hashevict::kernels
