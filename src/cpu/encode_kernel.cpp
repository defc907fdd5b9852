// SPDX-License-Identifier: Apache-2.0
#include "cpu/encode_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/encode_kernel.cpp"
#include <hwy/foreach_target.h>
// This comment keeps clang-format from sorting: Highway requires this order
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// These targets round a product before adding it; the definition requires a fused multiply-add.
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4 || \
    (defined(HWY_SSE2) && HWY_TARGET == HWY_SSE2) || (defined(HWY_EMU128) && HWY_TARGET == HWY_EMU128)
inline constexpr bool kFusedMulAdd = false;
#else
inline constexpr bool kFusedMulAdd = true;
#endif

/// Packs the signs of one vector of bits into `code`, from bit `first_bit` on.
template <class D, class V>
HWY_INLINE void store_signs(D d, V sums, int32_t first_bit, uint8_t* code) {
  uint8_t packed[8] = {};
  hn::StoreMaskBits(d, hn::Ge(sums, hn::Zero(d)), packed);
  if (hn::Lanes(d) >= 8) {
    std::memcpy(code + first_bit / 8, packed, hn::Lanes(d) / 8);
  } else {
    code[first_bit / 8] = static_cast<uint8_t>(code[first_bit / 8] | packed[0] << (first_bit % 8));
  }
}

/// Encodes `kRows` rows times `kVectors` vectors of bits: independent chains hide the latency of a fused multiply-add.
template <int kRows, int kVectors, class D>
HWY_INLINE void encode_block(D d, const EncodeRows& args, int64_t row, int32_t first_bit) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  hn::Vec<D> sums[kRows][kVectors];
  for (auto& row_sums : sums) {
    for (auto& sum : row_sums) sum = hn::Zero(d);
  }
  const float* const x = args.rows + row * args.head_dim;
  const float* projection = args.projection + first_bit;
  for (int32_t e = 0; e < args.head_dim; ++e, projection += args.hash_bits) {
    hn::Vec<D> weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = hn::LoadU(d, projection + int64_t{v} * lanes);
    for (int r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, x[r * args.head_dim + e]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(weights[v], value, sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    uint8_t* const code = args.codes + (row + r) * (args.hash_bits / 8);
    for (int v = 0; v < kVectors; ++v) store_signs(d, sums[r][v], first_bit + v * lanes, code);
  }
}

template <int kVectors, class D>
HWY_INLINE void encode_bits(D d, const EncodeRows& args, int32_t first_bit) {
  constexpr int kRows = 6;  // 12 sums, 2 weights and 1 value fit the 16 registers of AVX2
  int64_t row = 0;
  for (; row + kRows <= args.num_rows; row += kRows) encode_block<kRows, kVectors>(d, args, row, first_bit);
  switch (args.num_rows - row) {
    case 5:
      return encode_block<5, kVectors>(d, args, row, first_bit);
    case 4:
      return encode_block<4, kVectors>(d, args, row, first_bit);
    case 3:
      return encode_block<3, kVectors>(d, args, row, first_bit);
    case 2:
      return encode_block<2, kVectors>(d, args, row, first_bit);
    case 1:
      return encode_block<1, kVectors>(d, args, row, first_bit);
    default:
      return;
  }
}

template <class D>
HWY_INLINE void encode_all_bits(D d, const EncodeRows& args) {
  const auto lanes = static_cast<int32_t>(hn::Lanes(d));
  int32_t bit = 0;
  // A single row has no chains of other rows beside its own.
  for (; args.num_rows == 1 && bit + 8 * lanes <= args.hash_bits; bit += 8 * lanes) encode_block<1, 8>(d, args, 0, bit);
  for (; args.num_rows == 1 && bit + 4 * lanes <= args.hash_bits; bit += 4 * lanes) encode_block<1, 4>(d, args, 0, bit);
  for (; bit + 2 * lanes <= args.hash_bits; bit += 2 * lanes) encode_bits<2>(d, args, bit);
  for (; bit < args.hash_bits; bit += lanes) encode_bits<1>(d, args, bit);
}

/// Encodes literally as defined, for instruction sets without a fused multiply-add.
HWY_INLINE void encode_scalar(const EncodeRows& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const x = args.rows + row * args.head_dim;
    uint8_t* const code = args.codes + row * (args.hash_bits / 8);
    for (int32_t bit = 0; bit < args.hash_bits; ++bit) {
      float sum = 0.0F;
      for (int32_t e = 0; e < args.head_dim; ++e) sum = std::fma(args.projection[e * args.hash_bits + bit], x[e], sum);
      code[bit / 8] = static_cast<uint8_t>(code[bit / 8] | (sum >= 0.0F ? 1 : 0) << (bit % 8));
    }
  }
}

void EncodeRowsTarget(const EncodeRows& args) {
  std::fill_n(args.codes, args.num_rows * (args.hash_bits / 8), uint8_t{0});
  if constexpr (!kFusedMulAdd) {
    encode_scalar(args);
  } else if (args.hash_bits == 8) {
    encode_all_bits(hn::CappedTag<float, 8>{}, args);
  } else {
    encode_all_bits(hn::CappedTag<float, 16>{}, args);
  }
}

/// A chain as long as that of a code's bit. Targets without a fused multiply-add call the C library's.
float WeighKey(const float* weights, const float* key, int32_t head_dim) {
  float sum = 0.0F;
  for (int32_t e = 0; e < head_dim; ++e) sum = std::fma(weights[e], key[e], sum);
  return sum + weights[head_dim];
}

const char* TargetName() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {

HWY_EXPORT(EncodeRowsTarget);
HWY_EXPORT(WeighKey);
HWY_EXPORT(TargetName);

void encode_rows(const EncodeRows& args) {
  HWY_DYNAMIC_DISPATCH(EncodeRowsTarget)(args);
}

float weigh_key(const float* weights, const float* key, int32_t head_dim) {
  return HWY_DYNAMIC_DISPATCH(WeighKey)(weights, key, head_dim);
}

const char* simd_target_name() {
  return HWY_DYNAMIC_DISPATCH(TargetName)();
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
