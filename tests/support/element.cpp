// SPDX-License-Identifier: Apache-2.0
#include "support/element.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace hashevict::test {
namespace {

uint16_t half_from_float(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000U : 0U);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7E00U);
  if (std::isinf(value)) return static_cast<uint16_t>(sign | 0x7C00U);
  if (value == 0.0F) return sign;
  int exponent = 0;
  const float fraction = std::frexp(std::abs(value), &exponent);  // in [1/2, 1)
  const bool subnormal = exponent < -13;
  const auto significand = static_cast<uint32_t>(std::ldexp(fraction, subnormal ? exponent + 24 : 11));
  const uint32_t biased = subnormal ? 0U : static_cast<uint32_t>(exponent + 14);
  return static_cast<uint16_t>(sign | (biased << 10) | (significand & 0x3FFU));
}

float float_from_half(uint16_t bits) {
  const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  const int biased = (bits >> 10) & 0x1F;
  const int fraction = bits & 0x3FF;
  if (biased == 31) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  }
  const int significand = biased == 0 ? fraction : fraction + 0x400;
  return sign * std::ldexp(static_cast<float>(significand), (biased == 0 ? 1 : biased) - 25);
}

}  // namespace

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
  }
  throw std::logic_error("unknown dtype");
}

void store(DType dtype, float value, void* target) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (dtype == DType::bfloat16) bits = std::isnan(value) ? 0x7FC0U : bits >> 16;
  if (dtype == DType::float16) bits = half_from_float(value);
  std::memcpy(target, &bits, size_of(dtype));  // little-endian, as all supported machines are
}

float load(DType dtype, const void* source) {
  uint32_t bits = 0;
  std::memcpy(&bits, source, size_of(dtype));
  if (dtype == DType::float16) return float_from_half(static_cast<uint16_t>(bits));
  return std::bit_cast<float>(dtype == DType::bfloat16 ? bits << 16 : bits);
}

reference::Storage storage_of(DType dtype) {
  if (dtype == DType::float16) return reference::Storage::float16;
  return dtype == DType::bfloat16 ? reference::Storage::bfloat16 : reference::Storage::float32;
}

}  // namespace hashevict::test
