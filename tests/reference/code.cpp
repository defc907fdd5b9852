// SPDX-License-Identifier: Apache-2.0
#include "reference/code.hpp"

#include <cmath>

namespace hashevict::reference {

Code pack(const std::vector<bool>& bits) {
  Code code(bits.size() / 8, 0);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i]) code[i / 8] = static_cast<std::uint8_t>(code[i / 8] | (1U << (i % 8)));
  }
  return code;
}

bool bit(const Code& code, std::size_t i) {
  return ((code[i / 8] >> (i % 8)) & 1U) != 0;
}

Code encode(const Projection& projection, const Vector& x, const Vector& center) {
  std::vector<bool> bits;
  for (const Vector& row : projection) {
    float sum = 0.0F;
    for (std::size_t e = 0; e < x.size(); ++e) {
      const float centered = x[e] - center[e];
      sum = std::fma(row[e], centered, sum);
    }
    bits.push_back(sum >= 0.0F);
  }
  return pack(bits);
}

std::uint32_t hamming_distance(const Code& a, const Code& b) {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < 8 * a.size(); ++i) {
    if (bit(a, i) != bit(b, i)) ++count;
  }
  return count;
}

}  // namespace hashevict::reference
