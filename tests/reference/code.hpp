// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/projection.hpp"

namespace hashevict::reference {

/// Packed: bit i of a code is bit i % 8 of byte i / 8.
using Code = std::vector<std::uint8_t>;

/// Bit i is 1 iff `<r_i, x - center> >= 0`. The sum is one fma per element, in order, from 0. NaN gives 0.
Code encode(const Projection& projection, const Vector& x, const Vector& center);

/// Packs bits into a code.
Code pack(const std::vector<bool>& bits);

[[nodiscard]] bool bit(const Code& code, std::size_t i);

/// The number of bits in which two codes differ.
std::uint32_t hamming_distance(const Code& a, const Code& b);

}  // namespace hashevict::reference
