// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sequence.hpp"

namespace hashevict::eval {

/// The pieces of running text that a seed set is measured on: its half of the text in equal stretches, as many as it
/// holds, dealt out to examples and seeds in an order that is drawn. No piece overlaps another, or else errors would
/// count the same bytes twice; and the pieces do not depend on how many are asked for, so that a later run with more
/// examples keeps those that there are.
class RunningText {
 public:
  /// @param text outlives the pieces
  /// @param length tokens of a piece, with the mark that begins it
  RunningText(const engine::ModelConfig& model, std::string_view text, SeedSet set, int32_t length);

  /// Pieces in all.
  size_t size() const { return pieces_.size(); }
  /// Pieces that every seed has.
  int32_t num_examples() const;

  /// @param seed one of the set's
  /// @param index from 0 up to `num_examples()` @throws Error if there is no such piece
  std::string_view piece(uint64_t seed, int32_t index) const;
  Sequence sequence(uint64_t seed, int32_t index) const;

 private:
  const engine::ModelConfig& model_;
  SeedSet set_;
  std::vector<std::string_view> pieces_;
};

}  // namespace hashevict::eval
