// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/config.hpp>
#include <random>

#include "reference/sequence.hpp"

namespace hashevict::test {

using reference::Tokens;

/// Numbers of tokens that a case goes through.
using Counts = std::vector<std::size_t>;

/// What queries and keys look like; values are always normal.
enum class Flavour {
  normal,    ///< independent standard normal elements
  biased,    ///< the same plus a large component that all tokens of a head share, as real keys have
  repeated,  ///< taken from three vectors only: almost every score is a tie
  special    ///< sprinkled with NaN, infinities, negative zero and subnormal numbers
};

/// A seeded source of tokens: the same seed and calls give the same tokens.
class Inputs {
 public:
  explicit Inputs(uint32_t seed) : engine_{seed} {}

  /// The next tokens of a sequence in one layer, exactly representable in `dtype`.
  Tokens draw(const Config& config, std::size_t count, DType dtype = DType::float32, Flavour flavour = Flavour::normal);

  /// Normal numbers for other tensors.
  std::vector<float> floats(std::size_t count, DType dtype = DType::float32);

 private:
  std::vector<float> vectors(std::size_t count, std::size_t heads, std::size_t dim, DType dtype, Flavour flavour);

  std::mt19937 engine_;
};

/// Tokens `begin .. begin + count - 1`.
Tokens slice(const Config& config, const Tokens& tokens, std::size_t begin, std::size_t count);

/// The heads `[first, first + count)` of every token, with their groups' queries.
Tokens shard(const Config& config, const Tokens& tokens, std::size_t first, std::size_t count);

}  // namespace hashevict::test
