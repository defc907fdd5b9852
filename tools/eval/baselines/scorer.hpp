// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "head.hpp"

namespace hashevict::eval::baselines {

/**
 * Which slot of one head can best be spared: the one with the largest score. A step is arrive(), then score() if there
 * is no room, then attended(). A prompt that is compressed at once is arrive() and attended() for each of its tokens
 * over all before it, then one score() for the token that comes next.
 *
 * What a scorer remembers of a token it keeps by position, which stays the same wherever the token lies.
 */
class Scorer {
 public:
  virtual ~Scorer() = default;

  /// Whether one scorer serves all heads of a layer, so that they can evict alike. A token then comes with each head.
  virtual bool serves_layer() const { return false; }

  /// A token arrives; the head does not hold it yet.
  virtual void arrive(const Head& /*head*/, const Token& /*token*/) {}

  /// The score of every slot as the token given arrives. After a prompt that token is not known yet: all but its
  /// position is the last one's.
  virtual void score(const Head& head, const Token& token, std::span<float> scores) = 0;

  /// Attention of the token's queries over the slots, averaged over the group. The head holds the token now.
  virtual void attended(const Head& /*head*/, const Token& /*token*/, std::span<const float> /*weights*/) {}

 protected:
  Scorer() = default;
  Scorer(const Scorer&) = default;
  Scorer& operator=(const Scorer&) = default;
};

/// One number a token, by position; 0 until it is set.
class ByPosition {
 public:
  float& operator[](int32_t position) {
    const auto index = static_cast<size_t>(position);
    if (index >= values_.size()) values_.resize(index + index / 2 + 16);
    return values_[index];
  }
  float at(int32_t position) const {
    const auto index = static_cast<size_t>(position);
    return position < 0 || index >= values_.size() ? 0.0F : values_[index];
  }

 private:
  std::vector<float> values_;
};

}  // namespace hashevict::eval::baselines
