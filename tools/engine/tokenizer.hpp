// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"

namespace hashevict::engine {

/// The tokens of a byte-level model: ids below 256 are bytes, the others are marks without text.
struct ByteTokenizer {
  /// Refuses a model whose vocabulary lacks a byte or the mark that begins a sequence, or is too large for bytes and
  /// marks. @throws Error unsupported, naming the field of its `config.json`
  static void require_fits(const ModelConfig& config);
  /// Returns one id a byte, without marks.
  static std::vector<std::int32_t> encode(std::string_view text);
  /// Returns the bytes of the ids, without marks.
  static std::string decode(std::span<const std::int32_t> tokens);
};

}  // namespace hashevict::engine
