// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "eval/scores.hpp"
#include "eval/tasks.hpp"
#include "policy_run.hpp"

namespace hashevict::eval {

/// When a policy learns what is asked.
enum class Mode {
  streamed,  ///< after the fact: the context is streamed through the cache, then one or more questions are
  known,     ///< at once: the prompt, which ends with the question, is compressed as a whole when it has been read
  generated  ///< long after: a short prompt, then text of the model's own, then the question
};

/// Example seeds, which also seed projections: rules are chosen on one set and reported on the other. Their texts are
/// disjoint, too: the two halves of the text given.
enum class SeedSet { dev, test };
std::span<const uint64_t> seeds(SeedSet set);
std::string_view half_of(std::string_view text, SeedSet set);

/// What is measured on one sequence.
struct Sample {
  double score = 0.0;  ///< share of the questions answered; for running text, nats per byte
  double lost = 0.0;   ///< share of full attention that falls on evicted tokens, mean over the queries looked at
  int32_t slots = 0;
};

/// One sequence, the same for every policy.
struct Sequence {
  std::vector<int32_t> tokens;     ///< all of them, answers included
  size_t num_prefilled = 0;        ///< leading tokens that come as one prompt; the others are streamed
  std::vector<ByteRange> answers;  ///< tokens owed; without any, the sequence is running text

  /// Feeds it to a policy. @param attention of the full cache over the same tokens
  Sample measure(PolicyRun& run, const baselines::FullAttention& attention) const;
};

/// Tokens of a sequence that are no bytes of a text: 1 if the model wants one to begin with.
int32_t num_marks(const engine::ModelConfig& model);

/// @param length tokens in all
/// @throws Error if the length is too small for the task or the text too short for it
Sequence make_recall(const Runtime& runtime, Mode mode, Task task, const Ingredients& ingredients, int32_t length,
                     Random& random);

}  // namespace hashevict::eval
