// SPDX-License-Identifier: Apache-2.0
#include "kernels/encode.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

const char* launch_encode(const EncodeParams& params, void* stream) {
  constexpr int64_t kFewVectors = 4096;  // blocks that a device has room for at once, about
  return visit_bits(params.hash_bits, [&](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    if (int64_t{params.tokens} * params.heads <= kFewVectors) {
      const simt::Extents extents{params.tokens, params.heads, kCodeWords<kBits> * 32,
                                  simt::shared_bytes<float>(params.head_dim)};
      return simt::launch(encode_step<kBits>, extents, params, stream);
    }
    const int32_t tiles = static_cast<int32_t>((int64_t{params.tokens} + kTileTokens - 1) / kTileTokens);
    const simt::Extents extents{tiles, params.heads, kEncodeThreads, encode_tile_bytes(params.head_dim)};
    return simt::launch(encode_bulk<kBits>, extents, params, stream);
  });
}

}  // namespace hashevict::kernels
