// SPDX-License-Identifier: Apache-2.0
#include "reference/rounding.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hashevict::reference {
namespace {

/// Rounds `x` to a format with so many significand bits: to a multiple of the format's last place at `x`.
float round_to_format(float x, int significand_bits, int smallest_exponent, double largest) {
  if (!std::isfinite(x) || x == 0.0F) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  const int last_place = std::max(exponent, smallest_exponent) - significand_bits;
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(x), -last_place)), last_place);
  if (std::abs(rounded) > largest) return std::copysign(std::numeric_limits<float>::infinity(), x);
  return static_cast<float>(rounded);
}

}  // namespace

float round_to(Storage storage, float x) {
  switch (storage) {
    case Storage::float16:
      return round_to_format(x, 11, -13, 65504.0);
    case Storage::bfloat16:
      return round_to_format(x, 8, -125, 0x1.FEp127);
    case Storage::float32:
      break;
  }
  return x;
}

}  // namespace hashevict::reference
