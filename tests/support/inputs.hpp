// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/config.hpp>
#include <random>

#include "reference/sequence.hpp"

namespace hashevict::test {

using reference::Tokens;

/// Numbers of tokens, one per call of a test case.
using Counts = std::vector<std::size_t>;

/// The distribution of queries and keys; values are always normal.
enum class Flavour {
  normal,    ///< independent standard normal elements
  biased,    ///< the same plus a large component that all tokens of a head share, as real keys have
  repeated,  ///< taken from three vectors only: almost every score is a tie
  special    ///< sprinkled with NaN, infinities, negative zero and subnormal numbers
};

/// A seeded source of tokens: the same seed and calls give the same tokens.
class Inputs {
 public:
  explicit Inputs(uint32_t seed) : engine_{seed}, importances_{~seed} {}

  /// The next tokens of a sequence in one layer, exactly representable in `dtype`. Importances and slopes are finite:
  /// of flavour `repeated` a few small numbers, of `special` the smallest and the largest numbers, zeros of both signs
  /// too.
  Tokens draw(const Config& config, std::size_t count, DType dtype = DType::float32, Flavour flavour = Flavour::normal);

  /// Normal numbers for other tensors.
  std::vector<float> floats(std::size_t count, DType dtype = DType::float32);

 private:
  std::vector<float> vectors(std::size_t count, std::size_t heads, std::size_t dim, DType dtype, Flavour flavour);

  std::vector<float> importances(std::size_t count, Flavour flavour);

  std::mt19937 engine_;
  std::mt19937 importances_;  ///< apart, so that vectors do not depend on them
};

/// The weights and the biases of a layer's importances that tests set, `[num_kv_heads, head_dim]` and `[num_kv_heads]`,
/// for rules that weigh keys.
struct ImportanceWeights {
  std::vector<float> weight, bias;
};
ImportanceWeights importance_weights(const Config& config, int32_t layer);

/// Tokens `begin .. begin + count - 1`.
Tokens slice(const Config& config, const Tokens& tokens, std::size_t begin, std::size_t count);

/// The heads `[first, first + count)` of every token, with their groups' queries.
Tokens shard(const Config& config, const Tokens& tokens, std::size_t first, std::size_t count);

}  // namespace hashevict::test
