// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cli/demo/scores.hpp"
#include "cli/demo/tasks.hpp"

namespace hashevict::lab {

/// The time at which a policy sees the question.
enum class Mode {
  streamed,  ///< late: the context is streamed through the cache, then one or more questions
  known      ///< at once: the prompt, which ends with the question, is compressed as a whole
};

/// Example seeds, which also seed projections: rules are chosen on one set and reported on the other. Their texts are
/// disjoint, too: the two halves of the text given.
enum class SeedSet { dev, test };
std::span<const uint64_t> seeds(SeedSet set);
std::string_view half_of(std::string_view text, SeedSet set);

/// One sequence, the same for every policy.
struct Sequence {
  std::vector<int32_t> tokens;          ///< answers included
  size_t num_prefilled = 0;             ///< leading tokens of the prompt; the others are streamed
  std::vector<cli::ByteRange> answers;  ///< tokens of the answers; none: running text

  /// Runs the sequence under a policy. @return the share of the questions answered; for running text, nats per byte
  double measure(engine::Decoder& decoder) const;
};

/// Returns the number of marks in a sequence: 1 if the model has a mark that begins one.
int32_t num_marks(const engine::ModelConfig& model);

/// @param length tokens in all
/// @throws Error if the length is too small for the task or the text too short for it
Sequence make_recall(const engine::ModelConfig& model, Mode mode, cli::Task task, const cli::Ingredients& ingredients,
                     int32_t length, cli::Random& random);

/// The pieces of running text for a seed set: its half of the text is cut into as many equal pieces as fit, which are
/// assigned to examples and seeds in a random order. Pieces are disjoint, since errors would count shared bytes twice.
/// They do not depend on the number of examples, so a later run with more examples keeps the earlier ones.
class RunningText {
 public:
  /// @param text outlives the pieces
  /// @param length tokens of a piece, its first mark included
  RunningText(const engine::ModelConfig& model, std::string_view text, SeedSet set, int32_t length);

  /// The number of pieces.
  size_t size() const { return pieces_.size(); }
  /// The number of pieces of each seed.
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

}  // namespace hashevict::lab
