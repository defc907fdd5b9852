// SPDX-License-Identifier: Apache-2.0
// Scorers against cases small enough to be worked out by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "eval/baselines/attention_scorers.hpp"
#include "eval/baselines/full_attention.hpp"
#include "eval/baselines/key_scorers.hpp"

namespace hashevict::eval::baselines {
namespace {

constexpr int64_t kDim = 8;

using Vector = std::array<float, kDim>;

// A head with one query head, whose tokens have these first two elements as keys.
class Few {
 public:
  explicit Few(const std::vector<std::array<float, 2>>& keys, const std::vector<int32_t>& ids = {}) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const Vector key = vector(keys[i]);
      const auto position = static_cast<int32_t>(i);
      const Token token{position, ids.empty() ? 'a' : ids[i], key.data(), key.data(), key.data()};
      arrivals.push_back(key);
      head.append(token);
    }
  }

  static Vector vector(std::array<float, 2> first) { return {first[0], first[1]}; }

  // A token that comes next, with this key and query.
  Token next(std::array<float, 2> x) {
    newest = vector(x);
    return {static_cast<int32_t>(head.length()), 'a', newest.data(), newest.data(), newest.data()};
  }

  std::vector<float> scores(Scorer& scorer, const Token& token) const {
    std::vector<float> values(head.length());
    scorer.score(head, token, values);
    return values;
  }

  size_t victim(Scorer& scorer, const Token& token) const {
    const std::vector<float> values = scores(scorer, token);
    return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
  }

  Head head{kDim, 1};
  std::vector<Vector> arrivals;
  Vector newest{};
};

const std::vector<std::array<float, 2>> kThreeKeys = {{1, 0}, {0, 1}, {1, 1}};

TEST(Scorers, H2oEvictsTheSmallestSumOfAttention) {
  Few few(kThreeKeys);
  H2o scorer;
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>{0.5F, 0.2F, 0.3F});
  scorer.attended(few.head, token, std::vector<float>{0.1F, 0.6F, 0.3F});
  const std::vector<float> scores = few.scores(scorer, token);
  EXPECT_FLOAT_EQ(scores[0], -0.6F);
  EXPECT_FLOAT_EQ(scores[1], -0.8F);
  EXPECT_FLOAT_EQ(scores[2], -0.6F);
}

TEST(Scorers, TovaLooksAtTheLastQueryAlone) {
  Few few(kThreeKeys);
  Tova scorer;
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>{0.0F, 0.5F, 0.5F});
  scorer.attended(few.head, token, std::vector<float>{0.7F, 0.1F, 0.2F});
  EXPECT_EQ(few.victim(scorer, token), 1U);
}

TEST(Scorers, ScissorhandsCountsWhoWasBelowAverageWithinItsHistory) {
  Few few(kThreeKeys);
  Scissorhands scorer;
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>{0.9F, 0.05F, 0.05F});
  scorer.attended(few.head, token, std::vector<float>{0.1F, 0.8F, 0.1F});
  EXPECT_EQ(few.scores(scorer, token), (std::vector<float>{1, 1, 2}));
  for (size_t i = 0; i < Scissorhands::kHistory; ++i) {
    scorer.attended(few.head, token, std::vector<float>{0.1F, 0.1F, 0.8F});
  }
  constexpr auto kAll = static_cast<float>(Scissorhands::kHistory);
  EXPECT_EQ(few.scores(scorer, token), (std::vector<float>{kAll, kAll, 0})) << "the first two steps are forgotten";
}

TEST(Scorers, SnapKvPoolsTheVotesOfItsWindow) {
  Few few(std::vector<std::array<float, 2>>(12, {1, 0}));
  SnapKv scorer;
  const Token token = few.next({1, 0});
  std::vector<float> weights(12, 0.0F);
  weights[4] = 0.7F;
  weights[11] = 0.3F;
  scorer.attended(few.head, token, weights);
  const std::vector<float> scores = few.scores(scorer, token);
  for (size_t slot = 1; slot <= 7; ++slot) EXPECT_NEAR(scores[slot], -0.1F, 1e-6F) << "three on each side of 4";
  EXPECT_NEAR(scores[0], 0.0F, 1e-6F);
  EXPECT_NEAR(scores[8], -0.3F / 7, 1e-6F);
  std::fill(weights.begin(), weights.end(), 0.0F);
  weights[0] = 1.0F;
  for (int32_t i = 0; i < SnapKv::kWindow; ++i) scorer.attended(few.head, token, weights);
  EXPECT_NEAR(few.scores(scorer, token)[5], 0.0F, 1e-5F) << "the first query has left the window";
}

TEST(Scorers, FastGenKeepsSpecialTokensAndPunctuationWhereTheyHoldTheAttention) {
  // Attention lies on the mark and on punctuation: the second hybrid recovers it, and protects them.
  Few few(std::vector<std::array<float, 2>>(6, {1, 0}), {256, 'a', '.', 'b', ',', 'c'});
  FastGen scorer(4);
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>{0.4F, 0.0F, 0.3F, 0.0F, 0.3F, 0.0F});
  EXPECT_EQ(few.victim(scorer, token), 1U);
  const std::vector<float> scores = few.scores(scorer, token);
  for (const size_t kept : {size_t{0}, size_t{2}, size_t{4}}) EXPECT_LT(scores[kept], scores[3]);
}

TEST(Scorers, RKvEvictsACopyOfWhatIsThereBeforeAKeyOfItsOwn) {
  std::vector<std::array<float, 2>> keys(20, {1, 0});
  keys[7] = {0, 1};
  Few few(keys);
  RKv scorer(20);
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>(20, 0.05F));
  const std::vector<float> scores = few.scores(scorer, token);
  // Of 19 copies, the two most recent are spared.
  for (size_t slot = 0; slot < 18; ++slot) {
    if (slot != 7) {
      EXPECT_GT(scores[slot], scores[7]);
    }
  }
  EXPECT_GT(scores[0], scores[19]) << "the most recent of the copies are spared";
}

TEST(Scorers, KeyDiffEvictsTheKeyClosestToTheMean) {
  Few few({{1, 0}, {0, 1}, {3, 3}, {-1, 0}});
  KeyDiff scorer;
  const std::vector<float> scores = few.scores(scorer, few.next({1, 0}));
  // The sum of unit keys is (c, 1 + c) with c = cos 45.
  const float c = std::sqrt(0.5F);
  EXPECT_NEAR(scores[0], c, 1e-5F);
  EXPECT_NEAR(scores[1], 1 + c, 1e-5F);
  EXPECT_NEAR(scores[2], c * (1 + 2 * c), 1e-5F);
  EXPECT_NEAR(scores[3], -c, 1e-5F);
}

TEST(Scorers, ExactAngleIsTheAngleToTheQuery) {
  Few few({{2, 0}, {0, 5}, {1, 1}});
  ExactAngle scorer;
  const std::vector<float> scores = few.scores(scorer, few.next({3, 0}));
  EXPECT_NEAR(scores[0], 0.0F, 1e-3F);
  EXPECT_NEAR(scores[1], std::acos(0.0F), 1e-5F);
  EXPECT_NEAR(scores[2], std::acos(0.0F) / 2, 1e-5F);
}

TEST(Scorers, ExactProductIsTheProductWithTheQuery) {
  Few few({{2, 0}, {-1, 5}, {1, 1}});
  ExactProduct scorer;
  EXPECT_EQ(few.scores(scorer, few.next({3, 0})), (std::vector<float>{-6, 3, -3}));
}

TEST(Scorers, ExactSupersededRemembersTheClosestLaterKey) {
  Few few({{1, 0}, {0, 1}});
  ExactSuperseded scorer;
  scorer.arrive(few.head, few.next({0, 2}));
  scorer.arrive(few.head, few.next({1, 1}));
  const std::vector<float> scores = few.scores(scorer, few.next({1, 1}));
  EXPECT_NEAR(scores[0], 1 + std::sqrt(0.5F), 1e-5F);
  EXPECT_NEAR(scores[1], 2.0F, 1e-5F);
}

TEST(Scorers, OracleEvictsWhatIsNeededLeastFromNowOn) {
  FullAttention attention(1, 1);
  const Vector any{};
  const std::vector<std::vector<float>> rows = {
      {1.0F}, {0.9F, 0.1F}, {0.1F, 0.3F, 0.6F}, {0.1F, 0.3F, 0.2F, 0.4F}, {0.0F, 0.5F, 0.1F, 0.2F, 0.2F}};
  for (size_t t = 0; t < rows.size(); ++t) {
    attention.observe(0, 0, {static_cast<int32_t>(t), 'a', any.data(), any.data(), any.data()}, rows[t]);
  }
  const FutureAttention sum(attention, FutureAttention::Need::sum);
  const FutureAttention largest(attention, FutureAttention::Need::largest);
  EXPECT_FLOAT_EQ(sum.needed(0, 0, 0, 0), 2.1F);
  EXPECT_FLOAT_EQ(sum.needed(0, 0, 0, 3), 0.1F);
  EXPECT_FLOAT_EQ(sum.needed(0, 0, 1, 3), 0.8F);
  EXPECT_FLOAT_EQ(largest.needed(0, 0, 2, 2), 0.6F);
  EXPECT_FLOAT_EQ(largest.needed(0, 0, 2, 3), 0.2F);
  Few few(kThreeKeys);
  Oracle oracle(sum, 0, 0);
  EXPECT_EQ(few.victim(oracle, few.next({1, 0})), 0U);
}

TEST(FullAttention, LostIsTheShareOfWhatIsNotHeld) {
  FullAttention attention(1, 2);
  const Vector any{};
  for (int32_t head = 0; head < 2; ++head) {
    attention.observe(0, head, {0, 'a', any.data(), any.data(), any.data()}, std::vector<float>{1.0F});
    attention.observe(0, head, {1, 'a', any.data(), any.data(), any.data()}, std::vector<float>{0.6F, 0.4F});
    attention.observe(0, head, {2, 'a', any.data(), any.data(), any.data()}, std::vector<float>{0.5F, 0.3F, 0.2F});
  }
  EXPECT_NEAR(attention.lost(2, {{0, 1}, {0, 1}}), 0.0, 1e-6);
  EXPECT_NEAR(attention.lost(2, {{0}, {1}}), (0.3 + 0.5) / 2, 1e-6) << "the token itself counts as held";
}

}  // namespace
}  // namespace hashevict::eval::baselines
