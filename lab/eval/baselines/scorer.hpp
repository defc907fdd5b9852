// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "head.hpp"

namespace hashevict::lab::baselines {

/**
 * Scores the slots of one head; the slot with the largest score is evicted. A step calls arrive(), then score() if the
 * head is full, then attended(). A prompt that is compressed at once calls arrive() and attended() for each of its
 * tokens over all before it, then score() once for the token after it.
 *
 * A scorer stores its data of a token by position, which stays the same when the token changes its slot.
 */
class Scorer {
 public:
  virtual ~Scorer() = default;

  /// Whether one scorer serves all heads of a layer, so that they can evict alike. A token then arrives once for each
  /// head.
  virtual bool serves_layer() const { return false; }

  /// Called when a token arrives, before the head holds it.
  virtual void arrive(const Head& /*head*/, const Token& /*token*/) {}

  /// Scores every slot for the arriving token. After a prompt, that token is unknown: only its position is real, the
  /// rest is the last token's.
  virtual void score(const Head& head, const Token& token, std::span<float> scores) = 0;

  /// Called with the attention of the token's queries over the slots, averaged over the group. The head holds the
  /// token.
  virtual void attended(const Head& /*head*/, const Token& /*token*/, std::span<const float> /*weights*/) {}

 protected:
  Scorer() = default;
  Scorer(const Scorer&) = default;
  Scorer& operator=(const Scorer&) = default;
};

/// One number a token, by position, initially 0.
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

}  // namespace hashevict::lab::baselines
