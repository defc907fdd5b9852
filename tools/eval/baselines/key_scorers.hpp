// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "scorer.hpp"

// Policies that read keys and queries exactly, where the library reads codes.
namespace hashevict::eval::baselines {

/// KeyDiff (Park et al. 2025, arXiv 2504.15364, section 3): evict the key with the largest cosine to the mean of the
/// cached keys, each at length 1. Simplified: one token a step, where the paper takes blocks; and sinks and a recent
/// window stay, of which the paper has the latter alone, and only as an option.
class KeyDiff : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  std::vector<float> products_;
};

/// The paper's rule without codes: the angle between key and query, summed over the group, which is what the Hamming
/// distance of ever more bits converges to.
class ExactAngle : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  std::vector<float> products_;
};

/// Evict the smallest product with the queries, summed over the group: what an exact look at the present knows.
class ExactProduct : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  std::vector<float> products_;
};

/// `superseded` without codes: evict the key that a later key has come closest to by angle.
class ExactSuperseded : public Scorer {
 public:
  void arrive(const Head& head, const Token& token) override;
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  ByPosition largest_cosine_;  // plus 1, so that 0 is the least
  std::vector<float> products_;
};

}  // namespace hashevict::eval::baselines
