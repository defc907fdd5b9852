// SPDX-License-Identifier: Apache-2.0
#include "centers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace hashevict::cli {
namespace {

constexpr int64_t kBlock = 256;

float widen_half(uint16_t bits) {
  const auto exponent = static_cast<int>((bits >> 10U) & 31U);
  const auto mantissa = static_cast<int>(bits & 1023U);
  float magnitude =
      std::ldexp(static_cast<float>(exponent == 0 ? mantissa : mantissa + 1024), std::max(exponent, 1) - 25);
  if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
  return (bits & 0x8000U) != 0 ? -magnitude : magnitude;
}

float element(const Tensor& x, int64_t index) {
  switch (x.element_type()) {
    case DType::float16:
      return widen_half(x.data_as<uint16_t>()[index]);
    case DType::bfloat16:
      return std::bit_cast<float>(static_cast<uint32_t>(x.data_as<uint16_t>()[index]) << 16U);
    case DType::float32:
    case DType::int32:
    case DType::uint8:
      break;
  }
  return x.data_as<float>()[index];
}

}  // namespace

std::vector<float> prompt_center(const Tensor& x, int64_t num_tokens) {
  const auto width = static_cast<size_t>(x.shape[1] * x.shape[2]);
  std::vector<float> total(width, 0.0F);
  for (int64_t begin = 0; begin < num_tokens; begin += kBlock) {
    std::vector<float> block(width, 0.0F);
    for (int64_t token = begin; token < std::min(begin + kBlock, num_tokens); ++token) {
      for (size_t i = 0; i < width; ++i) block[i] += element(x, token * x.stride[0] + static_cast<int64_t>(i));
    }
    for (size_t i = 0; i < width; ++i) total[i] += block[i];
  }
  for (float& value : total) value /= static_cast<float>(num_tokens);
  return total;
}

}  // namespace hashevict::cli
