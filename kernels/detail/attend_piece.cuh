// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/element.cuh"

/// What one lane holds of a row of keys or values: eight neighbouring elements.
namespace hashevict::kernels {

inline constexpr int32_t kPieceElements = 8;

/// As they lie in memory: 16 or 32 bytes.
template <int32_t kDtype>
struct Piece {
  static constexpr int32_t kParts = kDtype == HASHEVICT_FLOAT32 ? 2 : 1;
  simt::Bytes16 parts[kParts];
};

/// Whether every row of a layer starts on a boundary of 16 bytes.
HASHEVICT_DEVICE bool rows_are_aligned(const Slots& kv) {
  const uint64_t elements = static_cast<uint64_t>(kv.slot_stride) | static_cast<uint64_t>(kv.head_stride) |
                            static_cast<uint64_t>(kv.block_table == nullptr ? kv.sequence_stride : kv.page_stride);
  const uint64_t bytes = elements * static_cast<uint64_t>(size_of(kv.dtype)) | reinterpret_cast<uintptr_t>(kv.keys) |
                         reinterpret_cast<uintptr_t>(kv.values);
  return bytes % sizeof(simt::Bytes16) == 0;
}

/// Elements `index` to `index + 7`; in one or two accesses if they are aligned.
template <int32_t kDtype, bool kAligned>
HASHEVICT_DEVICE Piece<kDtype> load_piece(const void* data, int64_t index) {
  constexpr int32_t kParts = Piece<kDtype>::kParts;
  Piece<kDtype> piece;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < (kAligned ? kParts : 0); ++i) {
    piece.parts[i] = simt::load16(static_cast<const unsigned char*>(data) + index * size_of(kDtype) + i * 16);
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < (kAligned ? 0 : 4 * kParts); ++i) {
    uint32_t& word = piece.parts[i / 4].words[i % 4];
    if constexpr (kDtype == HASHEVICT_FLOAT32) {
      word = simt::load(static_cast<const uint32_t*>(data) + index + i);
    } else {
      const auto* const pair = static_cast<const uint16_t*>(data) + index + 2 * i;
      word = uint32_t{simt::load(pair)} | uint32_t{simt::load(pair + 1)} << 16;
    }
  }
  return piece;
}

template <int32_t kDtype>
HASHEVICT_DEVICE void widen_piece(const Piece<kDtype>& piece, float (&values)[kPieceElements]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kPieceElements; ++i) {
    if constexpr (kDtype == HASHEVICT_FLOAT32) {
      values[i] = simt::float_from_bits(piece.parts[i / 4].words[i % 4]);
    } else {
      const uint32_t word = piece.parts[0].words[i / 2];
      values[i] = widen(static_cast<uint16_t>(i % 2 == 0 ? word & 0xFFFFU : word >> 16), kDtype);
    }
  }
}

}  // namespace hashevict::kernels
