// SPDX-License-Identifier: Apache-2.0
#include "running_text.hpp"

#include <algorithm>

#include "eval/text.hpp"

namespace hashevict::eval {

RunningText::RunningText(const engine::ModelConfig& model, std::string_view text, SeedSet set, int32_t length)
    : model_(model), set_(set) {
  const std::string_view half = half_of(text, set);
  const auto size = static_cast<size_t>(length - num_marks(model));
  pieces_ = cut_evenly(half, size, half.size() / size);
  Random random(seeds(set).front());
  random.shuffle(pieces_);
}

int32_t RunningText::num_examples() const {
  return static_cast<int32_t>(pieces_.size() / seeds(set_).size());
}

std::string_view RunningText::piece(uint64_t seed, int32_t index) const {
  const std::span<const uint64_t> all = seeds(set_);
  const auto place = std::find(all.begin(), all.end(), seed);
  if (place == all.end() || index < 0 || index >= num_examples()) {
    throw Error(Status::invalid_argument, "no piece of running text for seed " + std::to_string(seed) + ", example " +
                                              std::to_string(index) + ": there are " + std::to_string(num_examples()) +
                                              " a seed");
  }
  return pieces_[static_cast<size_t>(index) * all.size() + static_cast<size_t>(place - all.begin())];
}

Sequence RunningText::sequence(uint64_t seed, int32_t index) const {
  return {sequence_tokens(model_, piece(seed, index)), 0, {}};
}

}  // namespace hashevict::eval
