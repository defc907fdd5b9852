// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "scorer.hpp"

// Policies that the library cannot express: they read attention weights or exact keys. Common to all, and a
// simplification of each: heads that share a KV head share its slots, so their weights are averaged unless the paper
// says otherwise; all layers have the same capacity; and one token is evicted a step, so that the cache is always full.
// It goes as the next one arrives, which is after all attention so far, as in the papers, while no step sees more than
// the capacity.
namespace hashevict::lab::baselines {

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
/// steps, got less than the average attention, 1 / length; the last 10 stay. Simplified: the paper drops half of the
/// cache at once, and gives later layers more of it.
class Scissorhands : public Scorer {
 public:
  static constexpr size_t kHistory = 400;

  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  ByPosition counts_;
  std::deque<std::vector<int32_t>> history_;  // positions that were below average, by step
};

/// TOVA (Oren et al. 2024, arXiv 2401.06104, section 4 and algorithm 1): evict the smallest attention of the last
/// query, averaged over all heads of a layer, which evict the same token. (Head by head it is worse: appendix A.)
class Tova : public Scorer {
 public:
  bool serves_layer() const override { return true; }
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  int32_t newest_ = -1;            // whose attention `newest_sums_` holds, of the heads so far
  ByPosition newest_sums_, sums_;  // `sums_`: that of the token before, of all heads
};

/// SnapKV (Li et al. 2024, arXiv 2404.14469, section 4): keep the last queries' tokens and those that these queries,
/// here 32, attended to most in sum, the largest of 7 neighbours (kernel and pooling as in the authors' LongBench
/// settings; their code's default is the mean of 5). Simplified: decoded tokens replace the smallest vote, where the
/// paper lets the cache grow; streamed, the votes are those of the last 32 steps.
class SnapKv : public Scorer {
 public:
  static constexpr int32_t kWindow = 32;

  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  ByPosition votes_;
  std::deque<std::vector<std::pair<int32_t, float>>> rows_;  // of the last queries, by position
};

/// FastGen (Ge et al. 2024, arXiv 2310.01801, equations 1 and 2): each head is profiled once, when its cache is first
/// full, and takes the cheapest of its hybrids that keeps 95 % of the attention so far, else the one that keeps most:
/// special tokens; and punctuation; and frequent ones (largest attention sum). Simplified: every head has the same
/// capacity, so there is no full cache to choose, and room left is filled by recency, or frequency where that is part
/// of the hybrid. Every hybrid is local, too, by a recent window of 30 % of the cache, as in the paper's last hybrid:
/// where one token goes a step, new tokens, whose sums have just begun, would be the first.
class FastGen : public Scorer {
 public:
  static constexpr double kRecovered = 0.95;
  static constexpr double kLocal = 0.3;  ///< share of the cache that is the recent window

  explicit FastGen(int32_t capacity) : capacity_(static_cast<size_t>(capacity)) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  struct Hybrid {
    bool punctuation, frequent;
  };
  struct Row {
    int32_t position;
    std::vector<float> weights;  // by position, as nothing has been evicted yet
  };
  static constexpr std::array<Hybrid, 3> kHybrids = {{{false, false}, {true, false}, {true, true}}};
  void rank(const Hybrid& hybrid, const Head& head, const Token& token, std::span<float> scores) const;
  double recovered(const Hybrid& hybrid, std::span<const float> scores) const;
  void choose(const Head& head, const Token& token);

  size_t capacity_;
  ByPosition sums_;
  std::vector<Row> rows_;  // until the head is profiled
  const Hybrid* chosen_ = nullptr;
};

/// R-KV (Cai et al. 2025, arXiv 2505.24133, equations 2 to 7): keep the last 8 tokens and of the others the largest
/// `lambda * importance - (1 - lambda) * redundancy`, lambda = 0.1. Importance is the attention of the last 8 queries,
/// the softmax of the largest product in the group, max-pooled over 7 neighbours. Redundancy is the softmax of a key's
/// mean cosine to the others, not counting, for each key, the most recent of those that it resembles: cosine above 0.5
/// (this number, the one that is spared and the 7 are the authors' code's; the paper leaves them open). Scores are
/// taken every 128 tokens, as in the paper. Simplified: what these scores give up is overwritten token by token, rather
/// than dropped at once.
class RKv : public Scorer {
 public:
  static constexpr int32_t kWindow = 8;

  explicit RKv(int32_t capacity) : period_(capacity / 4 < 128 ? capacity / 4 : 128) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override;
  void attended(const Head& head, const Token& token, std::span<const float> weights) override;

 private:
  void rescore(const Head& head);
  std::vector<float> importance(const Head& head, std::span<const size_t> slots) const;

  int32_t period_;
  int32_t scored_until_ = -1;               // positions below it have a score
  int32_t next_ = 0;                        // position at which to score anew
  std::deque<std::vector<float>> queries_;  // of the last tokens, `[group_size, head_dim]`
  ByPosition scores_;
};

/// Evict the key with the largest norm: L2 norm-based eviction (Devoto et al. 2024, arXiv 2406.11430).
class KeyNorm : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;
};

/// KeyDiff (Park et al. 2025, arXiv 2504.15364, section 3): evict the key with the largest cosine to the mean of the
/// cached keys, each at length 1. Simplified: one token a step, where the paper takes blocks; and sinks and a recent
/// window stay, of which the paper has the latter alone, and only as an option.
class KeyDiff : public Scorer {
 public:
  void score(const Head& head, const Token& token, std::span<float> scores) override;

 private:
  std::vector<float> products_;
};

}  // namespace hashevict::lab::baselines
