// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

inline constexpr int32_t kEncodeThreads = 128;
inline constexpr int32_t kTileTokens = 32;  ///< tokens that a block of encode_bulk() takes

/// How a warp of encode_bulk() divides its lanes: one bit each, of as many vectors as fill 32 lanes, several times.
template <int32_t kBits>
struct BulkShape {
  static constexpr int32_t kLanes = kBits < 32 ? kBits : 32;        ///< lanes of one vector
  static constexpr int32_t kVectors = 32 / kLanes;                  ///< vectors side by side
  static constexpr int32_t kChains = kBits < 32 ? kBits / 4 : 8;    ///< vectors one after the other, per lane
  static constexpr int32_t kParts = kTileTokens / (kVectors * kChains);
  static constexpr int32_t kUnits = kParts * kCodeWords<kBits>;  ///< work of one warp at a time
};

inline int32_t encode_bulk_shared_bytes(int32_t head_dim) {
  return simt::shared_bytes<float>(head_dim * kTileTokens);
}
inline int32_t encode_step_shared_bytes(int32_t head_dim) {
  return simt::shared_bytes<float>(head_dim);
}
/// Threads of a block of encode_step().
template <int32_t kBits>
inline constexpr int32_t kEncodeStepThreads = kCodeWords<kBits> * 32;

/// One vector's element with the centre subtracted, as the definition wants it: before the products.
HASHEVICT_DEVICE float centered(const EncodeParams& p, int32_t head, int32_t e, float value) {
  if (p.center == nullptr) return value;
  return simt::subtract(value, simt::load_constant(p.center + head * p.head_dim + e));
}

/// Stages a tile as [head_dim, kTileTokens]: lane = token, so that stores hit 32 banks and later reads are broadcasts.
HASHEVICT_DEVICE void stage_tile(const EncodeParams& p, int32_t first_token, int32_t head,
                                 const simt::SharedArray<float>& tile) {
  const int32_t token = first_token + simt::lane();
  const int64_t row = token * p.x.stride[0] + head * p.x.stride[1];
  const bool present = token < p.tokens;
  const bool vectors = p.x.stride[2] == 1 && is_aligned(p.x.data, p.x.dtype, row);
  for (int32_t e = simt::warp() * 8; e < p.head_dim; e += kEncodeThreads / 32 * 8) {
    float values[8] = {};
    if (present && vectors) {
      load_eight(p.x.data, p.x.dtype, row + e, values);
    } else if (present) {
      for (int32_t i = 0; i < 8; ++i) values[i] = load_element(p.x.data, p.x.dtype, row + (e + i) * p.x.stride[2]);
    }
    for (int32_t i = 0; i < 8; ++i) {
      tile.store((e + i) * kTileTokens + simt::lane(), centered(p, head, e + i, values[i]));
    }
  }
}

/// Writes `count` bytes of a code from byte `first` on.
HASHEVICT_DEVICE void store_code_bytes(const EncodeParams& p, int32_t token, int32_t head, int32_t first, int32_t count,
                                       uint32_t bits) {
  uint8_t* const code = p.codes + token * p.codes_stride[0] + head * p.codes_stride[1];
  for (int32_t i = 0; i < count; ++i) {
    simt::store(code + (first + i) * p.codes_stride[2], static_cast<uint8_t>(bits >> (8 * i) & 0xFFU));
  }
}

/// One warp's share of a tile: 32 bits of kVectors * kChains vectors.
template <int32_t kBits>
HASHEVICT_DEVICE void encode_unit(const EncodeParams& p, const float* projection, const simt::SharedArray<float>& tile,
                                  int32_t first_token, int32_t head, int32_t unit) {
  using Shape = BulkShape<kBits>;
  const int32_t word = unit % kCodeWords<kBits>;
  const int32_t part = unit / kCodeWords<kBits>;
  const int32_t bit = simt::lane() % Shape::kLanes;
  const int32_t vector = (part * Shape::kVectors + simt::lane() / Shape::kLanes) * Shape::kChains;
  const float* weights = projection + word * 32 + bit;
  float sums[Shape::kChains] = {};
  for (int32_t e = 0; e < p.head_dim; ++e, weights += kBits) {
    const float weight = simt::load_constant(weights);
    float values[Shape::kChains];
    tile.load_many(e * kTileTokens + vector, values);
    for (int32_t c = 0; c < Shape::kChains; ++c) sums[c] = simt::fma(weight, values[c], sums[c]);
  }
  for (int32_t c = 0; c < Shape::kChains; ++c) {
    const uint32_t bits = simt::ballot(simt::kFullMask, sums[c] >= 0.0F);
    const int32_t token = first_token + vector + c;
    if (bit == 0 && token < p.tokens) {
      const uint32_t own = bits >> (simt::lane() / Shape::kLanes * Shape::kLanes);
      store_code_bytes(p, token, head, word * 4, Shape::kLanes / 8, own);
    }
  }
}

/// Codes of many vectors. Grid: (tiles of kTileTokens tokens, heads), kEncodeThreads threads.
/// Threads: lane = bit of up to 32 / hash_bits vectors side by side and up to 8 one after the other; a warp takes one
/// word of some of the tile's vectors at a time. A ballot packs 32 bits; nothing is reduced across lanes, so codes are
/// the CPU's to the bit.
/// Bytes: every vector once, in 16-byte loads, its code once; the projection comes from L2 once a block.
/// Bound: memory up to 16 bits (head_dim * hash_bits fma to head_dim * 2 bytes), arithmetic above.
/// Races: a block writes its own tokens' codes alone; one barrier lies between staging and reading the tile.
template <int32_t kBits>
HASHEVICT_KERNEL(kEncodeThreads) encode_bulk(EncodeParams p) {
  const int32_t first_token = simt::block_x() * kTileTokens;
  const int32_t head = simt::block_y();
  const auto tile = simt::SharedMemory{}.take<float>(p.head_dim * kTileTokens);
  stage_tile(p, first_token, head, tile);
  simt::block_sync();
  const float* const projection = p.projection + int64_t{head / p.heads_per_projection} * p.head_dim * kBits;
  for (int32_t unit = simt::warp(); unit < BulkShape<kBits>::kUnits; unit += kEncodeThreads / 32) {
    encode_unit<kBits>(p, projection, tile, first_token, head, unit);
  }
}

/// Codes of few vectors, as a decode step has them. Grid: (tokens, heads), one warp per 32 bits.
/// Threads: lane = bit; the block's vector is staged in shared memory and read by broadcast.
/// Bytes: the vector, its code, and the projection from L2.
/// Bound: latency, of head_dim dependent fma and loads; so one block a vector spreads over the device.
/// Races: a block writes its own code alone; one barrier lies between staging and reading.
template <int32_t kBits>
HASHEVICT_KERNEL(kEncodeStepThreads<kBits>) encode_step(EncodeParams p) {
  const int32_t token = simt::block_x();
  const int32_t head = simt::block_y();
  const auto vector = simt::SharedMemory{}.take<float>(p.head_dim);
  const int64_t row = token * p.x.stride[0] + head * p.x.stride[1];
  for (int32_t e = simt::thread_index(); e < p.head_dim; e += simt::block_threads()) {
    vector.store(e, centered(p, head, e, load_element(p.x.data, p.x.dtype, row + e * p.x.stride[2])));
  }
  simt::block_sync();
  const float* const projection = p.projection + int64_t{head / p.heads_per_projection} * p.head_dim * kBits;
  const uint32_t bits = project_word<kBits>(vector, 0, p.head_dim, projection, simt::warp());
  constexpr int32_t kBytes = kBits < 32 ? kBits / 8 : 4;
  if (simt::lane() == 0) store_code_bytes(p, token, head, simt::warp() * 4, kBytes, bits);
}

}  // namespace hashevict::kernels
