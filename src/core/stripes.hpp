// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/storage.hpp"

namespace hashevict::core {

/// Part of a layer's state that is an array over sequences: `bytes` bytes a sequence.
struct Stripe {
  void* base;
  int64_t bytes;
  unsigned char empty;  ///< what every byte of an empty sequence holds

  [[nodiscard]] std::byte* of(int32_t sequence) const { return static_cast<std::byte*>(base) + sequence * bytes; }
};

inline constexpr std::size_t kNumStripes = 11;

/// Everything of a layer's state that belongs to single sequences, keys and values excepted.
std::array<Stripe, kNumStripes> stripes_of(const Storage& storage, int32_t layer);

}  // namespace hashevict::core
