// SPDX-License-Identifier: Apache-2.0
#include "simt/mma.hpp"

#include <algorithm>
#include <cmath>

#include "simt/host.hpp"

namespace hashevict::simt {
namespace {

constexpr int kRows = 16, kColumns = 8, kDepth = 16;

float widen(uint32_t word, int half, bool is_bfloat) {
  const auto bits = static_cast<uint16_t>(word >> (16 * half));
  return is_bfloat ? float_from_bits(uint32_t{bits} << 16) : half_to_float(bits);
}

/// Truncates below 2^(exponent - 23).
double cut(double value, int exponent) {
  return std::ldexp(std::trunc(std::ldexp(value, 23 - exponent)), exponent - 23);
}

/// Truncates each addend, then the sum.
float add_cut(const std::array<double, kDepth + 1>& addends) {
  double largest = 0.0;
  double plain = 0.0;
  for (const double addend : addends) {
    largest = std::max(largest, std::abs(addend));
    plain += addend;
  }
  if (largest == 0.0 || !std::isfinite(plain)) return static_cast<float>(plain);
  double sum = 0.0;
  for (const double addend : addends) sum += cut(addend, std::ilogb(largest));
  return static_cast<float>(sum == 0.0 ? 0.0 : cut(sum, std::ilogb(sum)));
}

}  // namespace

void multiply_tiles(const std::array<MmaOperands, 32>& lanes) {
  std::array<std::array<double, kDepth>, kRows> a{};
  std::array<std::array<double, kDepth>, kColumns> b{};  // transposed
  for (std::size_t lane = 0; lane < 32; ++lane) {
    const std::size_t row = lane / 4;
    for (std::size_t i = 0; i < 8; ++i) {  // half, then eight rows down, then eight columns to the right
      const std::size_t column = lane % 4 * 2 + i % 2 + i / 4 * 8;
      const auto half = static_cast<int>(i % 2);
      a.at(row + i / 2 % 2 * 8).at(column) = widen(lanes[lane].a[i / 2], half, lanes[lane].is_bfloat);
      if (i / 2 % 2 == 0) b.at(row).at(column) = widen(lanes[lane].b[i / 4], half, lanes[lane].is_bfloat);
    }
  }
  for (std::size_t lane = 0; lane < 32; ++lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t row = lane / 4 + i / 2 * 8;
      const std::size_t column = lane % 4 * 2 + i % 2;
      std::array<double, kDepth + 1> addends{};
      for (std::size_t k = 0; k < kDepth; ++k) addends[k] = a.at(row).at(k) * b.at(column).at(k);
      addends[kDepth] = lanes[lane].c[i];
      lanes[lane].c[i] = add_cut(addends);
    }
  }
}

}  // namespace hashevict::simt
