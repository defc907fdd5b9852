// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/code.cuh"
#include "kernels/detail/element.cuh"
#include "kernels/detail/head.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

inline constexpr int32_t kTileTokens = 32;  ///< tokens that a block of encode_bulk() takes

/// How a warp of encode_bulk() divides its lanes. A lane has two bits of several vectors: half as many loads from
/// shared memory as with one bit, so that arithmetic is the bound. As many vectors lie side by side as fill 32 lanes.
template <int32_t kBits>
struct BulkShape {
  static constexpr int32_t kLanes = kBits < 64 ? kBits / 2 : 32;             ///< lanes of one vector
  static constexpr int32_t kVectors = 32 / kLanes;                           ///< vectors side by side
  static constexpr int32_t kMost = kTileTokens / kVectors;                   ///< as a lane can find in a tile
  static constexpr int32_t kChains = kMost < 16 ? kMost : 16;                ///< vectors of a lane
  static constexpr int32_t kParts = kTileTokens / (kVectors * kChains);      ///< of a tile's tokens
  static constexpr int32_t kWarps = kParts * (kBits < 64 ? 1 : kBits / 64);  ///< each has its own part and bits
  static constexpr int32_t kThreads = kWarps * 32;
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
  simt::SharedArray<float> values;       ///< [kTileTokens, value_stride()]
  simt::SharedArray<int32_t> sequences;  ///< [kTileTokens], -1: not encoded
};

/// Floats from one vector of a tile to the next: neighbours that are read together lie in different banks.
HASHEVICT_HOST_DEVICE constexpr int32_t value_stride(int32_t head_dim) {
  return head_dim + 4;
}

/// Shared memory that a tile takes.
inline int32_t encode_tile_bytes(int32_t head_dim) {
  return simt::shared_bytes<float>(value_stride(head_dim) * kTileTokens) + simt::shared_bytes<int32_t>(kTileTokens);
}

/// Eight elements of a token's vector from element `e` on, centred.
HASHEVICT_DEVICE void load_centered(const EncodeParams& p, const EncodeTile& tile, int32_t index, int32_t e,
                                    float (&values)[8]) {
  const int32_t sequence = tile.sequences.load(index);
  if (sequence < 0) return;
  const int64_t row = int64_t{tile.first_token + index} * p.x.stride[0] + tile.head * p.x.stride[1];
  if (p.x.stride[2] == 1 && is_aligned(p.x.data, p.x.dtype, row)) {
    load_eight(p.x.data, p.x.dtype, row + e, values);
  } else {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i) values[i] = load_element(p.x.data, p.x.dtype, row + (e + i) * p.x.stride[2]);
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; ++i) values[i] = centered(p, sequence, tile.head, e + i, values[i]);
}

/// Neighbouring threads have neighbouring pieces of 16 bytes, four pieces in flight each.
HASHEVICT_DEVICE void stage_tile(const EncodeParams& p, const EncodeTile& tile) {
  constexpr int32_t kPieces = 4;
  if (simt::warp() == 0) tile.sequences.store(simt::lane(), sequence_of(p, tile.first_token + simt::lane()));
  simt::block_sync();
  const int32_t pieces = p.head_dim / 8;  // of a vector
  const int32_t all = pieces * kTileTokens;
  HASHEVICT_NO_UNROLL
  for (int32_t first = simt::thread_index(); first < all; first += kPieces * simt::block_threads()) {
    float values[kPieces][8] = {};
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kPieces; ++i) {
      const int32_t piece = first + i * simt::block_threads();
      if (piece < all) load_centered(p, tile, piece / pieces, piece % pieces * 8, values[i]);
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kPieces; ++i) {
      const int32_t piece = first + i * simt::block_threads();
      const int32_t place = piece / pieces * value_stride(p.head_dim) + piece % pieces * 8;
      if (piece < all) tile.values.store_many(place, values[i]);
    }
  }
}

/// A warp's bits of its part of a tile: of kVectors * kChains vectors. Lanes with the same vectors have bits `bit` and
/// `bit` + kLanes.
template <int32_t kBits>
HASHEVICT_DEVICE void encode_part(const EncodeParams& p, const EncodeTile& tile) {
  using Shape = BulkShape<kBits>;
  const int32_t part = simt::warp() % Shape::kParts;
  const int32_t word = simt::warp() / Shape::kParts * 2;
  const int32_t bit = simt::lane() % Shape::kLanes;
  const int32_t side = simt::lane() / Shape::kLanes;
  const int32_t vector = part * Shape::kVectors * Shape::kChains + side;  // the first; kVectors to the next
  const float* weights = projection_of(p, tile.head) + word * 32 + bit;
  float sums[2][Shape::kChains] = {};
  for (int32_t first = 0; first < p.head_dim; first += 4, weights += 4 * kBits) {
    float w[2][4];  // their loads are in flight together
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i)
      w[i % 2][i / 2] = simt::load_constant(weights + i / 2 * kBits + i % 2 * Shape::kLanes);
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Shape::kChains; ++c) {
      float values[4];
      tile.values.load_many((vector + c * Shape::kVectors) * value_stride(p.head_dim) + first, values);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 8; ++i) sums[i % 2][c] = simt::fma(w[i % 2][i / 2], values[i / 2], sums[i % 2][c]);
    }
  }
  HASHEVICT_UNROLL
  for (int32_t c = 0; c < Shape::kChains; ++c) {
    const uint32_t low = simt::ballot(simt::kFullMask, sums[0][c] >= 0.0F) >> (side * Shape::kLanes % 32);
    const uint32_t high = simt::ballot(simt::kFullMask, sums[1][c] >= 0.0F) >> (side * Shape::kLanes % 32);
    const int32_t token = vector + c * Shape::kVectors;
    if (bit != 0 || tile.sequences.load(token) < 0) continue;
    if constexpr (Shape::kLanes == 32) {
      store_code_bytes(p, tile.first_token + token, tile.head, word * 4, 4, low);
      store_code_bytes(p, tile.first_token + token, tile.head, word * 4 + 4, 4, high);
    } else {
      const uint32_t mask = (1U << Shape::kLanes) - 1;
      store_code_bytes(p, tile.first_token + token, tile.head, 0, kBits / 8,
                       (low & mask) | (high & mask) << Shape::kLanes);
    }
  }
}

/// Codes of many vectors. Grid: (tiles of 32 tokens, heads); a warp for up to 32 bits, 2 for 64, 4 for 128.
/// Threads: a lane has two bits of up to 16 vectors. Ballots pack them; no sum crosses lanes, so codes equal the CPU's
/// to the bit.
/// Bytes: every vector once, in coalesced loads of 16 bytes, its code once; the projection comes from L1 and L2.
/// Bound: memory up to 16 bits, arithmetic above (docs/kernels.md).
/// Races: a block writes its own tokens' codes alone; one barrier lies between staging and reading the tile.
/// Budget: 80 registers, no spills; 128 (head_dim + 4) bytes of shared memory.
template <int32_t kBits>
HASHEVICT_KERNEL(BulkShape<kBits>::kThreads, 768 / BulkShape<kBits>::kThreads)
encode_bulk(HASHEVICT_GRID_CONSTANT EncodeParams p) {
  simt::wait_for_launch_before();
  simt::SharedMemory memory;
  const auto values = memory.take<float>(value_stride(p.head_dim) * kTileTokens);
  const EncodeTile tile{simt::block_x() * kTileTokens, simt::block_y(), values, memory.take<int32_t>(kTileTokens)};
  stage_tile(p, tile);
  simt::block_sync();
  encode_part<kBits>(p, tile);
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
