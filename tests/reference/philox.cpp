// SPDX-License-Identifier: Apache-2.0
#include "reference/philox.hpp"

namespace hashevict::reference {
namespace {

std::uint32_t high(std::uint64_t product) {
  return static_cast<std::uint32_t>(product >> 32);
}
std::uint32_t low(std::uint64_t product) {
  return static_cast<std::uint32_t>(product & 0xFFFFFFFFU);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{counter[0]} * 0xD2511F53U;
    const std::uint64_t b = std::uint64_t{counter[2]} * 0xCD9E8D57U;
    counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
    key[0] += 0x9E3779B9U;  // the golden ratio
    key[1] += 0xBB67AE85U;  // the square root of 3, minus 1
  }
  return counter;
}

}  // namespace hashevict::reference
