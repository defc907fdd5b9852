// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/element.cuh"

/// The part of a key or value row that one lane holds: eight neighbouring elements.
namespace hashevict::kernels {

inline constexpr int32_t kPieceElements = 8;

/// The elements as stored: 16 or 32 bytes.
template <DType kDtype>
struct Piece {
  static constexpr int32_t kParts = kDtype == DType::float32 ? 2 : 1;
  simt::Bytes16 parts[kParts];
};

/// Whether every row of a layer starts at a multiple of 16 bytes.
HASHEVICT_HOST_DEVICE inline bool rows_are_aligned(const Layer& layer) {
  const core::KvLayout& kv = layer.kv;
  const int64_t outer = layer.table.entries == nullptr ? kv.sequence_stride : kv.page_stride;
  const uint64_t bytes = static_cast<uint64_t>(kv.slot_stride | kv.head_offsets | outer) |
                         reinterpret_cast<uintptr_t>(layer.keys) | reinterpret_cast<uintptr_t>(layer.values);
  return bytes % sizeof(simt::Bytes16) == 0;
}

/// Four bytes of a row at an address that wider accesses than an element's must not touch.
template <DType kDtype>
HASHEVICT_DEVICE uint32_t load_word_apart(const unsigned char* address) {
  if constexpr (kDtype == DType::float32) {
    return simt::load(reinterpret_cast<const uint32_t*>(address));
  } else {
    const auto* const pair = reinterpret_cast<const uint16_t*>(address);
    return uint32_t{simt::load(pair)} | uint32_t{simt::load(pair + 1)} << 16;
  }
}

/// 16 bytes of such a row.
template <DType kDtype>
HASHEVICT_DEVICE simt::Bytes16 load_apart(const unsigned char* address) {
  simt::Bytes16 bytes{};
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) bytes.words[i] = load_word_apart<kDtype>(address + 4 * i);
  return bytes;
}

/// Loads eight elements, from `element` on, of the row that starts `offset` bytes after `data`. Aligned rows take one
/// or two accesses.
template <DType kDtype, bool kAligned>
HASHEVICT_DEVICE Piece<kDtype> load_piece(const void* data, int64_t offset, int32_t element) {
  const auto* const address = static_cast<const unsigned char*>(data) + (offset + element * size_of(kDtype));
  Piece<kDtype> piece;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Piece<kDtype>::kParts; ++i) {
    piece.parts[i] = kAligned ? simt::load16_once(address + i * 16) : load_apart<kDtype>(address + i * 16);
  }
  return piece;
}

template <DType kDtype>
HASHEVICT_DEVICE void widen_piece(const Piece<kDtype>& piece, float (&values)[kPieceElements]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kPieceElements; ++i) {
    if constexpr (kDtype == DType::float32) {
      values[i] = simt::float_from_bits(piece.parts[i / 4].words[i % 4]);
    } else {
      const uint32_t word = piece.parts[0].words[i / 2];
      values[i] = widen(static_cast<uint16_t>(i % 2 == 0 ? word & 0xFFFFU : word >> 16), kDtype);
    }
  }
}

}  // namespace hashevict::kernels
