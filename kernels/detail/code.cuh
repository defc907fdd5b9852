// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "kernels/detail/simt.cuh"

/// Codes of 8 to 128 bits: computed as words, stored as bytes.
namespace hashevict::kernels {

/// Words of a code. Codes below 32 bits use a part of one word.
HASHEVICT_HOST_DEVICE constexpr int32_t code_words(int32_t hash_bits) {
  return hash_bits <= 32 ? 1 : hash_bits / 32;
}
template <int32_t kBits>
inline constexpr int32_t kCodeWords = code_words(kBits);

/// Calls `visitor(bits)` with `decltype(bits)::value == hash_bits`. This is the only switch over code sizes.
HASHEVICT_EXEC_CHECK_DISABLE
template <class Visitor>
HASHEVICT_HOST_DEVICE decltype(auto) visit_bits(int32_t hash_bits, Visitor&& visitor) {
  switch (hash_bits) {
    case 8:
      return visitor(std::integral_constant<int32_t, 8>{});
    case 16:
      return visitor(std::integral_constant<int32_t, 16>{});
    case 32:
      return visitor(std::integral_constant<int32_t, 32>{});
    case 64:
      return visitor(std::integral_constant<int32_t, 64>{});
    default:
      return visitor(std::integral_constant<int32_t, 128>{});
  }
}

template <int32_t kBits>
struct Code {
  uint32_t words[kCodeWords<kBits>];
};

/// The unit of one access to a stored code.
template <int32_t kBits>
struct StoredCode;
template <>
struct StoredCode<8> {
  uint8_t word;
};
template <>
struct StoredCode<16> {
  uint16_t word;
};
template <>
struct StoredCode<32> {
  uint32_t word;
};
template <>
struct alignas(8) StoredCode<64> {
  uint32_t words[2];
};
template <>
struct alignas(16) StoredCode<128> {
  uint32_t words[4];
};

/// The code of a head's slot.
template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> load_code(const uint8_t* codes, int32_t slot) {
  const auto stored = simt::load(reinterpret_cast<const StoredCode<kBits>*>(codes) + slot);
  Code<kBits> code;
  if constexpr (kBits <= 32) {
    code.words[0] = stored.word;
  } else {
    HASHEVICT_UNROLL
    for (int32_t w = 0; w < kCodeWords<kBits>; ++w) code.words[w] = stored.words[w];
  }
  return code;
}

template <int32_t kBits>
HASHEVICT_DEVICE void store_code(uint8_t* codes, int32_t slot, const Code<kBits>& code) {
  StoredCode<kBits> stored;
  if constexpr (kBits <= 32) {
    stored.word = static_cast<decltype(stored.word)>(code.words[0]);
  } else {
    HASHEVICT_UNROLL
    for (int32_t w = 0; w < kCodeWords<kBits>; ++w) stored.words[w] = code.words[w];
  }
  simt::store(reinterpret_cast<StoredCode<kBits>*>(codes) + slot, stored);
}

/// The n-th code of an array in shared memory.
template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> shared_code(const simt::SharedArray<uint32_t>& codes, int32_t n) {
  Code<kBits> code;
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kCodeWords<kBits>; ++w) code.words[w] = codes.load(n * kCodeWords<kBits> + w);
  return code;
}

template <int32_t kBits>
HASHEVICT_DEVICE uint32_t hamming_distance(const Code<kBits>& a, const Code<kBits>& b) {
  int32_t distance = 0;
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kCodeWords<kBits>; ++w) distance += simt::popcount(a.words[w] ^ b.words[w]);
  return static_cast<uint32_t>(distance);
}

/// Adds the next kCount products to a bit's sum. Their loads are in flight together.
template <int32_t kBits, int32_t kCount>
HASHEVICT_DEVICE float add_products(float sum, const float* weights, const simt::SharedArray<float>& x, int32_t first) {
  float w[kCount];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kCount; ++i) w[i] = simt::load_constant(weights + i * kBits);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kCount; i += 4) {
    float values[4];
    x.load_many(first + i, values);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < 4; ++k) sum = simt::fma(w[i + k], values[k], sum);
  }
  return sum;
}

/// Bits [32 word, 32 word + 32) of the code of the vector at `first` in shared memory. Lane = bit: one fma an element,
/// in increasing index, so that no sum crosses lanes. NaN compares false and gives 0. All 32 lanes call it and get the
/// result. `projection` is [head_dim, kBits]: neighbouring lanes read neighbouring floats.
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t project_word(const simt::SharedArray<float>& x, int32_t first, int32_t head_dim,
                                       const float* projection, int32_t word) {
  constexpr int32_t kMany = 32;
  constexpr int32_t kFew = 8;  // divides head_dim
  const int32_t bit = word * 32 + simt::lane();
  float sum = 0.0F;
  if (bit < kBits) {
    int32_t e = 0;
    for (; e + kMany <= head_dim; e += kMany) {
      sum = add_products<kBits, kMany>(sum, projection + e * kBits + bit, x, first + e);
    }
    for (; e < head_dim; e += kFew) sum = add_products<kBits, kFew>(sum, projection + e * kBits + bit, x, first + e);
  }
  return simt::ballot(simt::kFullMask, bit < kBits && sum >= 0.0F);
}

}  // namespace hashevict::kernels
