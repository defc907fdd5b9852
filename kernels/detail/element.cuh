// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/simt.cuh"
#include "kernels/params.hpp"

/// Elements of any float type: widened exactly, rounded to nearest even, with the same bits as on the CPU backend.
namespace hashevict::kernels {

HASHEVICT_DEVICE float widen(uint16_t bits, DType dtype) {
  return dtype == DType::float16 ? simt::half_to_float(bits) : simt::float_from_bits(uint32_t{bits} << 16);
}

HASHEVICT_DEVICE float load_element(const void* data, DType dtype, int64_t index) {
  if (dtype == DType::float32) return simt::load(static_cast<const float*>(data) + index);
  return widen(simt::load(static_cast<const uint16_t*>(data) + index), dtype);
}

/// Loads eight neighbours from `index` on, which must lie at a multiple of 16 bytes.
HASHEVICT_DEVICE void load_eight(const void* data, DType dtype, int64_t index, float (&values)[8]) {
  const auto* const address = static_cast<const unsigned char*>(data) + index * size_of(dtype);
  const simt::Bytes16 first = simt::load16(address);
  if (dtype == DType::float32) {
    const simt::Bytes16 second = simt::load16(address + sizeof first);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      values[i] = simt::float_from_bits(first.words[i]);
      values[4 + i] = simt::float_from_bits(second.words[i]);
    }
    return;
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    values[2 * i] = widen(static_cast<uint16_t>(first.words[i] & 0xFFFFU), dtype);
    values[2 * i + 1] = widen(static_cast<uint16_t>(first.words[i] >> 16), dtype);
  }
}

/// Whether 16-byte accesses may start here.
HASHEVICT_DEVICE bool is_aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % sizeof(simt::Bytes16) == 0;
}

/// Whether 16-byte accesses may start at an element.
HASHEVICT_DEVICE bool is_aligned(const void* data, DType dtype, int64_t index) {
  return is_aligned(static_cast<const unsigned char*>(data) + index * size_of(dtype));
}

struct Eight {
  float values[8];
};

/// Eight elements from their bits, which fill eight words, or the first four.
HASHEVICT_DEVICE Eight widen_eight(const uint32_t (&words)[8], DType dtype) {
  Eight eight;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; ++i) {
    const auto half = static_cast<uint16_t>(words[i / 2] >> i % 2 * 16);
    eight.values[i] = simt::float_from_bits(dtype == DType::float32 ? words[i] : uint32_t{half} << 16);
    if (dtype == DType::float16) eight.values[i] = widen(half, DType::float16);
  }
  return eight;
}

/// Eight elements, `stride` apart, from `index` on, widened. A kernel has it once, however often it calls it: it takes
/// numbers and an address of global memory alone.
HASHEVICT_NOINLINE Eight load_eight_apart(const void* data, DType dtype, int64_t index, int64_t stride) {
  const auto* const address = static_cast<const unsigned char*>(simt::in_global_memory(data)) + index * size_of(dtype);
  const bool wide = dtype == DType::float32;
  uint32_t words[8] = {};
  if (stride == 1 && is_aligned(address)) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 2; ++i) {
      if (i > 0 && !wide) break;
      const simt::Bytes16 part = simt::load16(address + 16 * i);
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < 4; ++k) words[4 * i + k] = part.words[k];
    }
  } else {
    const auto* element = address;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i, element += stride * size_of(dtype)) {
      if (wide) {
        words[i] = simt::load(reinterpret_cast<const uint32_t*>(element));
      } else {
        words[i / 2] |= uint32_t{simt::load(reinterpret_cast<const uint16_t*>(element))} << i % 2 * 16;
      }
    }
  }
  return widen_eight(words, dtype);
}

/// Eight elements of a vector of the call from element `e` on, widened.
HASHEVICT_DEVICE void load_eight_of(const Vectors& x, int64_t place, int32_t e, float (&values)[8]) {
  const Eight eight = load_eight_apart(x.data, x.dtype, place + e * x.stride[2], x.stride[2]);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; ++i) values[i] = eight.values[i];
}

/// Whether every vector starts at a multiple of 16 bytes.
HASHEVICT_DEVICE bool vectors_are_aligned(const Vectors& x) {
  const uint64_t elements = static_cast<uint64_t>(x.stride[0]) | static_cast<uint64_t>(x.stride[1]);
  const uint64_t bytes = elements * static_cast<uint64_t>(size_of(x.dtype)) | reinterpret_cast<uintptr_t>(x.data);
  return bytes % sizeof(simt::Bytes16) == 0;
}

/// fp32 -> fp16; a NaN keeps its sign and the payload's leading bits.
HASHEVICT_DEVICE uint16_t narrow_to_half(float value) {
  const uint32_t bits = simt::bits_of_float(value);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude <= 0x7F800000U) return simt::float_to_half(value);
  return static_cast<uint16_t>((bits >> 16 & 0x8000U) | 0x7E00U | (magnitude >> 13 & 0x3FFU));
}

/// fp32 -> bf16; NaN as above.
HASHEVICT_DEVICE uint16_t narrow_to_bfloat(float value) {
  const uint32_t bits = simt::bits_of_float(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>(bits >> 16 | 0x0040U);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

HASHEVICT_DEVICE uint16_t narrow(float value, DType dtype) {
  return dtype == DType::float16 ? narrow_to_half(value) : narrow_to_bfloat(value);
}

/// Rounds a value to a type and widens it again.
HASHEVICT_DEVICE float round_to(DType dtype, float value) {
  return dtype == DType::float32 ? value : widen(narrow(value, dtype), dtype);
}

HASHEVICT_DEVICE void store_element(void* data, DType dtype, int64_t index, float value) {
  if (dtype == DType::float32) {
    simt::store(static_cast<float*>(data) + index, value);
  } else {
    simt::store(static_cast<uint16_t*>(data) + index, narrow(value, dtype));
  }
}

}  // namespace hashevict::kernels
