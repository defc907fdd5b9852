// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hashevict::engine {

/// The tokens of a byte-level model: ids below 256 are bytes, all others are marks that stand for no text.
struct ByteTokenizer {
  /// One id a byte; no mark is added.
  static std::vector<std::int32_t> encode(std::string_view text);
  /// The bytes of the ids; marks give nothing.
  static std::string decode(std::span<const std::int32_t> tokens);
};

}  // namespace hashevict::engine
