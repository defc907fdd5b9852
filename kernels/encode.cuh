// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/detail/head.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

inline constexpr int32_t kEncodeThreads = 128;
inline constexpr int32_t kTileTokens = 32;  ///< tokens that a block of encode_bulk() takes

/// How a warp of encode_bulk() divides its lanes: a lane has one bit of several vectors, and as many vectors lie side
/// by side as fill 32 lanes.
template <int32_t kBits>
struct BulkShape {
  static constexpr int32_t kLanes = kBits < 32 ? kBits : 32;      ///< lanes of one vector
  static constexpr int32_t kVectors = 32 / kLanes;                ///< vectors side by side
  static constexpr int32_t kChains = kBits < 32 ? kBits / 4 : 8;  ///< vectors that a lane takes one after the other
  static constexpr int32_t kParts = kTileTokens / (kVectors * kChains);
  static constexpr int32_t kUnits = kParts * kCodeWords<kBits>;  ///< work of one warp at a time
};

/// The sequence whose centre a token's vectors are encoded with; -1: the token is not encoded.
HASHEVICT_DEVICE int32_t sequence_of(const EncodeParams& p, int32_t token) {
  if (token >= p.tokens) return -1;
  return p.batch.rows > 0 ? row_of_token(p.batch, token).sequence : 0;
}

/// A vector's element with the centre subtracted, before the products, as the definition demands.
HASHEVICT_DEVICE float centered(const EncodeParams& p, int32_t sequence, int32_t head, int32_t e, float value) {
  if (p.center == nullptr) return value;
  const int64_t vector = int64_t{sequence} * p.heads + head;
  return simt::subtract(value, simt::load(p.center + vector * p.head_dim + e));
}

HASHEVICT_DEVICE const float* projection_of(const EncodeParams& p, int32_t head) {
  return p.projection + int64_t{head / p.heads_per_projection} * p.head_dim * p.hash_bits;
}

/// Writes `count` bytes of a code (1, 2 or 4) from byte `first` on.
HASHEVICT_DEVICE void store_code_bytes(const EncodeParams& p, int32_t token, int32_t head, int32_t first, int32_t count,
                                       uint32_t bits) {
  uint8_t* const code = p.codes + token * p.codes_stride[0] + head * p.codes_stride[1] + first * p.codes_stride[2];
  if (count == 4 && p.codes_stride[2] == 1 && reinterpret_cast<uintptr_t>(code) % 4 == 0) {
    simt::store(reinterpret_cast<uint32_t*>(code), bits);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    simt::store(code + i * p.codes_stride[2], static_cast<uint8_t>(bits >> (8 * i) & 0xFFU));
  }
}

/// The work of one block of encode_bulk().
struct EncodeTile {
  int32_t first_token;
  int32_t head;
  simt::SharedArray<float> values;       ///< [head_dim, kTileTokens]
  simt::SharedArray<int32_t> sequences;  ///< [kTileTokens], -1: not encoded
};

/// Shared memory that a tile takes.
inline int32_t encode_tile_bytes(int32_t head_dim) {
  return simt::shared_bytes<float>(head_dim * kTileTokens) + simt::shared_bytes<int32_t>(kTileTokens);
}

/// Lane = token: stores hit 32 banks, and later reads are broadcasts.
HASHEVICT_DEVICE void stage_tile(const EncodeParams& p, const EncodeTile& tile) {
  const int32_t lane = simt::lane();
  const int32_t token = tile.first_token + lane;
  const int32_t sequence = sequence_of(p, token);
  if (simt::warp() == 0) tile.sequences.store(lane, sequence);
  const int64_t row = token * p.x.stride[0] + tile.head * p.x.stride[1];
  const bool vectors = p.x.stride[2] == 1 && is_aligned(p.x.data, p.x.dtype, row);
  for (int32_t e = simt::warp() * 8; e < p.head_dim; e += kEncodeThreads / 32 * 8) {
    float values[8] = {};
    if (sequence >= 0 && vectors) {
      load_eight(p.x.data, p.x.dtype, row + e, values);
    } else if (sequence >= 0) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 8; ++i) values[i] = load_element(p.x.data, p.x.dtype, row + (e + i) * p.x.stride[2]);
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i) {
      const float value = sequence >= 0 ? centered(p, sequence, tile.head, e + i, values[i]) : 0.0F;
      tile.values.store((e + i) * kTileTokens + lane, value);
    }
  }
}

/// One warp's share of a tile: 32 bits of each of kVectors * kChains vectors.
template <int32_t kBits>
HASHEVICT_DEVICE void encode_unit(const EncodeParams& p, const EncodeTile& tile, int32_t unit) {
  using Shape = BulkShape<kBits>;
  const int32_t word = unit % kCodeWords<kBits>;
  const int32_t part = unit / kCodeWords<kBits>;
  const int32_t bit = simt::lane() % Shape::kLanes;
  const int32_t vector = (part * Shape::kVectors + simt::lane() / Shape::kLanes) * Shape::kChains;
  const float* weights = projection_of(p, tile.head) + word * 32 + bit;
  float sums[Shape::kChains] = {};
  for (int32_t first = 0; first < p.head_dim; first += 4, weights += 4 * kBits) {
    float w[4];  // their loads are in flight together
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) w[i] = simt::load_constant(weights + i * kBits);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      float values[Shape::kChains];
      tile.values.load_many((first + i) * kTileTokens + vector, values);
      HASHEVICT_UNROLL
      for (int32_t c = 0; c < Shape::kChains; ++c) sums[c] = simt::fma(w[i], values[c], sums[c]);
    }
  }
  HASHEVICT_UNROLL
  for (int32_t c = 0; c < Shape::kChains; ++c) {
    const uint32_t bits = simt::ballot(simt::kFullMask, sums[c] >= 0.0F);
    if (bit == 0 && tile.sequences.load(vector + c) >= 0) {
      const uint32_t own = bits >> (simt::lane() / Shape::kLanes * Shape::kLanes);
      store_code_bytes(p, tile.first_token + vector + c, tile.head, word * 4, Shape::kLanes / 8, own);
    }
  }
}

/// Codes of many vectors. Grid: (tiles of 32 tokens, heads); 128 threads.
/// Threads: lane = bit of up to 32 / hash_bits vectors side by side and up to 8 one after the other. A warp takes one
/// word of some of the tile's vectors at a time. A ballot packs 32 bits; no sum crosses lanes, so codes equal the CPU's
/// to the bit.
/// Bytes: every vector once, in 16-byte loads, its code once; the projection comes from L2 once a block.
/// Bound: memory up to 16 bits (head_dim * hash_bits fma to head_dim * 2 bytes), arithmetic above.
/// Races: a block writes its own tokens' codes alone; one barrier lies between staging and reading the tile.
/// Budget: 64 registers, no spills; 128 head_dim bytes of shared memory.
template <int32_t kBits>
HASHEVICT_KERNEL(kEncodeThreads, 8)
encode_bulk(HASHEVICT_GRID_CONSTANT EncodeParams p) {
  simt::wait_for_launch_before();
  simt::SharedMemory memory;
  const auto values = memory.take<float>(p.head_dim * kTileTokens);
  const EncodeTile tile{simt::block_x() * kTileTokens, simt::block_y(), values, memory.take<int32_t>(kTileTokens)};
  stage_tile(p, tile);
  simt::block_sync();
  for (int32_t unit = simt::warp(); unit < BulkShape<kBits>::kUnits; unit += kEncodeThreads / 32) {
    encode_unit<kBits>(p, tile, unit);
  }
}

/// Codes of few vectors, as in a decode step. Grid: (tokens, heads); one warp per 32 bits.
/// Threads: lane = bit; the block's vector is staged in shared memory and read by broadcast.
/// Bytes: the vector, its code, and the projection from L2.
/// Bound: latency of head_dim dependent fma and loads, so one block a vector spreads over the device.
/// Races: a block writes its own code alone; one barrier lies between staging and reading.
/// Budget: 64 registers, no spills; 4 head_dim bytes of shared memory.
template <int32_t kBits>
HASHEVICT_KERNEL(kCodeWords<kBits> * 32)
encode_step(HASHEVICT_GRID_CONSTANT EncodeParams p) {
  simt::wait_for_launch_before();
  const int32_t token = simt::block_x();
  const int32_t head = simt::block_y();
  const int32_t sequence = sequence_of(p, token);
  if (sequence < 0) return;
  const auto vector = simt::SharedMemory{}.take<float>(p.head_dim);
  const int64_t row = token * p.x.stride[0] + head * p.x.stride[1];
  for (int32_t e = simt::thread_index(); e < p.head_dim; e += simt::block_threads()) {
    vector.store(e, centered(p, sequence, head, e, load_element(p.x.data, p.x.dtype, row + e * p.x.stride[2])));
  }
  simt::block_sync();
  const uint32_t bits = project_word<kBits>(vector, 0, p.head_dim, projection_of(p, head), simt::warp());
  constexpr int32_t kBytes = kBits < 32 ? kBits / 8 : 4;
  if (simt::lane() == 0) store_code_bytes(p, token, head, simt::warp() * 4, kBytes, bits);
}

}  // namespace hashevict::kernels
