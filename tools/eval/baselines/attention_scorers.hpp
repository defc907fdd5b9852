// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "scorer.hpp"

// Policies that read attention weights. Common to all, and a simplification of each: heads that share a KV head share
// its slots, so their weights are averaged; one token is evicted a step, so that the cache is always full; and a token
// is evicted before the newest one attends, so that no step sees more than the capacity.
namespace hashevict::eval::baselines {

/// H2O (Zhang et al. 2023, arXiv 2306.14048, algorithm 1): evict the smallest attention summed over all steps; half of
/// the budget goes to the most recent tokens, which is the recent window of the cache.
class H2o : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  ByPosition sums_;
};

/// Scissorhands (Liu et al. 2023, arXiv 2305.17118, algorithm 2): evict the token that most often, within the last 400
/// steps, got less than the average attention, 1 / length. Simplified: the paper drops half of the cache at once.
class Scissorhands : public Scorer {
 public:
  static constexpr size_t kHistory = 400;

  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  ByPosition counts_;
  std::deque<std::vector<int32_t>> history_;  // positions that were below average, by step
};

/// TOVA (Oren et al. 2024, arXiv 2401.06104, section 3.2): evict the smallest attention of the last query. Simplified:
/// the paper averages over all heads of a layer, which then evict the same token; here over those of one KV head.
class Tova : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  ByPosition last_;
};

/// Attention summed over the last queries.
class RecentAttention {
 public:
  explicit RecentAttention(size_t num_queries) : num_queries_(num_queries) {}
  void add(const Head& head, std::span<const float> weights);
  /// Pooled with those of the three positions on each side: their mean, or the largest.
  float mean_around(int32_t position) const;
  float largest_around(int32_t position) const;

 private:
  static constexpr int32_t kReach = 3;  // kernel 7

  size_t num_queries_;
  ByPosition sums_;
  std::deque<std::vector<std::pair<int32_t, float>>> rows_;
};

/// SnapKV (Li et al. 2024, arXiv 2404.14469, section 4): keep the last queries' tokens and those that these queries,
/// here 32, attended to most, pooled over 7 neighbours (the mean, as in the authors' code). Simplified: decoded tokens
/// replace the smallest vote, where the paper lets the cache grow; streamed, the votes are those of the last 32 steps.
class SnapKv : public Scorer {
 public:
  static constexpr int32_t kWindow = 32;

  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  RecentAttention votes_{kWindow};
};

/// FastGen (Ge et al. 2024, arXiv 2310.01801, equation 2 and algorithm 1): each head is profiled once, when its cache
/// is first full, and takes the cheapest of its hybrids that keeps 95 % of the attention so far, else the one that
/// keeps most: special tokens; and punctuation; and frequent ones (largest attention sum). Simplified: every head has
/// the same capacity, so there is no full cache to choose, and room left is filled by recency, or frequency where that
/// is part of the hybrid. Every hybrid is local, too, by a recent window of 30 % of the cache: where one token goes a
/// step, new tokens, whose sums have just begun, would be the first.
class FastGen : public Scorer {
 public:
  static constexpr double kRecovered = 0.95;

  explicit FastGen(int32_t capacity) : capacity_(static_cast<size_t>(capacity)) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  struct Hybrid {
    bool punctuation, frequent;
  };
  static constexpr std::array<Hybrid, 3> kHybrids = {{{false, false}, {true, false}, {true, true}}};
  void rank(const Hybrid& hybrid, const Head& head, const Token& token, std::span<float> scores) const;
  double recovered(const Head& head, std::span<const float> scores) const;
  void choose(const Head& head, const Token& token);

  size_t capacity_;
  ByPosition sums_;
  const Hybrid* chosen_ = nullptr;
};

/// R-KV (Cai et al. 2025, arXiv 2505.24133, section 3): keep `lambda * importance - (1 - lambda) * redundancy`, lambda
/// = 0.1; importance is the attention of the last 8 queries, max-pooled over 7 neighbours; redundancy the softmax of a
/// key's mean cosine to the other keys, not counting, for each key, the most recent tenth of those that it resembles
/// (cosine above 0.5). Scores are taken every 128 tokens, as in the paper. Simplified: what these scores give up is
/// overwritten token by token, rather than dropped at once.
class RKv : public Scorer {
 public:
  static constexpr int32_t kWindow = 8;

  explicit RKv(int32_t capacity) : period_(capacity / 4 < 128 ? capacity / 4 : 128) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  void rescore(const Head& head);

  static constexpr float kImportance = 0.1F;
  static constexpr float kSimilar = 0.5F;
  static constexpr double kSpared = 0.1;

  int32_t period_;
  int32_t scored_until_ = -1;  // positions below it have a score
  int32_t next_ = 0;           // position at which to score anew
  RecentAttention importance_{kWindow};
  ByPosition scores_;
};

}  // namespace hashevict::eval::baselines
