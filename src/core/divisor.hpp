// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace hashevict::core {

/// A positive number that others are divided by, with what turns the division into a product: a GPU has no instruction
/// for it. Trivially copyable, for host and device.
struct Divisor {
  int32_t value = 0;    ///< 0: nothing is divided
  uint32_t factor = 0;  ///< 2^(31 + shift) / value, rounded up
  int32_t shift = 0;    ///< the smallest with 2^shift >= value

  constexpr Divisor() = default;
  constexpr Divisor(int32_t divisor) : value{divisor} {  // NOLINT(google-explicit-constructor): it is that number
    if (value <= 0) return;
    while (int64_t{1} << shift < value) ++shift;
    const uint64_t power = uint64_t{1} << (31 + shift);
    factor = static_cast<uint32_t>((power + static_cast<uint64_t>(value) - 1) / static_cast<uint64_t>(value));
  }

  /// `number` / value, rounded down; `number` is not negative. Exact: factor * value exceeds 2^(31 + shift) by less
  /// than 2^shift, so the product, divided by that power, exceeds the quotient by less than 1 / value.
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t divide(int32_t number) const {
    const uint32_t twice = static_cast<uint32_t>(number) * 2;
    const uint64_t product = uint64_t{twice} * factor;
    return static_cast<int32_t>(static_cast<uint32_t>(product >> 32) >> shift);
  }
};

}  // namespace hashevict::core
