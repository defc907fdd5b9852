// SPDX-License-Identifier: Apache-2.0
// Scorers on cases small enough to work out by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <vector>

#include "eval/baselines/scorers.hpp"

namespace hashevict::lab::baselines {
namespace {

constexpr int64_t kDim = 8;

using Vector = std::array<float, kDim>;

// A head that holds these keys, at positions from 0 on.
class Few {
 public:
  explicit Few(const std::vector<Vector>& keys, const std::vector<int32_t>& ids = {}, int64_t group_size = 1)
      : head(kDim, group_size, keys.size()) {
    for (size_t i = 0; i < keys.size(); ++i) {
      head.append(token(static_cast<int32_t>(i), keys[i], ids.empty() ? 'a' : ids[i]));
    }
  }

  // The next token, with this key and query.
  Token next(const Vector& x) {
    newest = x;
    return token(static_cast<int32_t>(head.length()), newest);
  }

  static Token token(int32_t position, const Vector& x, int32_t id = 'a') {
    return {position, id, x.data(), x.data(), x.data()};
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

  Head head;
  Vector newest{};
};

constexpr float kNever = -std::numeric_limits<float>::infinity();
const std::vector<Vector> kThreeKeys = {{1, 0}, {0, 1}, {1, 1}};

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
  const Vector any{};
  scorer.attended(few.head, Few::token(3, any), std::vector<float>{0.0F, 0.5F, 0.5F});
  scorer.attended(few.head, Few::token(4, any), std::vector<float>{0.7F, 0.1F, 0.2F});
  EXPECT_EQ(few.victim(scorer, Few::token(5, any)), 1U);
}

TEST(Scorers, TovaSumsOverTheHeadsOfALayerAndWaitsForAllOfThem) {
  Few first(kThreeKeys), second(kThreeKeys);
  Tova scorer;
  ASSERT_TRUE(scorer.serves_layer());
  const Vector any{};
  scorer.attended(first.head, Few::token(3, any), std::vector<float>{0.6F, 0.1F, 0.3F});
  scorer.attended(second.head, Few::token(3, any), std::vector<float>{0.1F, 0.7F, 0.2F});
  EXPECT_EQ(first.victim(scorer, Few::token(4, any)), 2U);
  scorer.attended(first.head, Few::token(4, any), std::vector<float>{0.0F, 0.0F, 1.0F});
  EXPECT_EQ(second.victim(scorer, Few::token(4, any)), 2U) << "as the first head has evicted for the same token";
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

// Twelve keys and a window.
std::vector<Vector> twelve_and_window() {
  return std::vector<Vector>(12 + SnapKv::kWindow, {1, 0});
}

TEST(Scorers, SnapKvTakesTheLargestVoteAround) {
  Few few(twelve_and_window());
  SnapKv scorer;
  const Token token = few.next({1, 0});
  std::vector<float> weights(few.head.length(), 0.0F);
  weights[4] = 0.7F;
  weights[12] = 0.3F;
  scorer.attended(few.head, token, weights);
  const std::vector<float> scores = few.scores(scorer, token);
  for (size_t slot = 1; slot <= 7; ++slot) EXPECT_FLOAT_EQ(scores[slot], -0.7F) << "three on each side of 4";
  for (const size_t slot : std::initializer_list<size_t>{0, 8, 9, 11})
    EXPECT_FLOAT_EQ(scores[slot], 0.0F) << "votes for the window stay there";
  for (size_t slot = 12; slot < scores.size(); ++slot) EXPECT_EQ(scores[slot], kNever) << "the window is kept";
  std::fill(weights.begin(), weights.end(), 0.0F);
  weights[0] = 1.0F;
  for (int32_t i = 0; i < SnapKv::kWindow; ++i) scorer.attended(few.head, token, weights);
  EXPECT_NEAR(few.scores(scorer, token)[5], 0.0F, 1e-5F) << "the first query has left the window";
}

TEST(Scorers, SnapKvPoolsOverTheNeighboursThatAreLeft) {
  Few few(twelve_and_window());
  const Vector any{1, 0};
  for (const size_t slot : std::initializer_list<size_t>{5, 6, 7})
    few.head.overwrite(slot, Few::token(static_cast<int32_t>(39 + slot), any));
  SnapKv scorer;
  std::vector<float> weights(few.head.length(), 0.0F);
  weights[4] = 0.7F;
  const Token token = Few::token(47, any);
  scorer.attended(few.head, token, weights);
  const std::vector<float> scores = few.scores(scorer, token);
  for (const size_t slot : std::initializer_list<size_t>{1, 4, 8, 10}) EXPECT_FLOAT_EQ(scores[slot], -0.7F) << slot;
  EXPECT_FLOAT_EQ(scores[11], 0.0F);
}

TEST(Scorers, FastGenKeepsSpecialTokensAndPunctuationWhereTheyHoldTheAttention) {
  // Attention lies on the mark and on punctuation: the second hybrid recovers it, and protects them.
  Few few(std::vector<Vector>(6, {1, 0}), {256, 'a', '.', 'b', ',', 'c'});
  FastGen scorer(4);
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, std::vector<float>{0.4F, 0.0F, 0.3F, 0.0F, 0.3F, 0.0F});
  EXPECT_EQ(few.victim(scorer, token), 1U);
  const std::vector<float> scores = few.scores(scorer, token);
  for (const size_t kept : {size_t{0}, size_t{2}, size_t{4}}) EXPECT_LT(scores[kept], scores[3]);
}

TEST(Scorers, FastGenKeepsWhatIsRecentWhereAHeadIsLocal) {
  // Every query attends to itself and the two before it, which all hybrids keep: the cheapest is taken.
  Few few(std::vector<Vector>(20, {1, 0}));
  FastGen scorer(20);
  const Vector any{};
  for (int32_t position = 0; position < 20; ++position) {
    std::vector<float> weights(static_cast<size_t>(position) + 1, 0.0F);
    const auto near = std::min<size_t>(weights.size(), 3);
    std::fill_n(weights.rbegin(), near, 1.0F / static_cast<float>(near));
    scorer.attended(few.head, Few::token(position, any), weights);
  }
  const std::vector<float> scores = few.scores(scorer, few.next(any));
  EXPECT_EQ(few.victim(scorer, few.next(any)), 1U) << "the oldest but the first token, which is special";
  for (size_t slot = 2; slot < 20; ++slot) EXPECT_LT(scores[slot], scores[slot - 1]);
}

TEST(Scorers, RKvEvictsACopyOfWhatIsThereBeforeAKeyOfItsOwn) {
  std::vector<Vector> keys(20 + RKv::kWindow, {1, 0});
  keys[7] = {0, 1};
  Few few(keys);
  RKv scorer(100);
  const Token token = few.next({1, 0});
  scorer.attended(few.head, token, {});
  const std::vector<float> scores = few.scores(scorer, token);
  for (size_t slot = 0; slot < 19; ++slot) {
    if (slot != 7) {
      EXPECT_GT(scores[slot], scores[7]);
    }
  }
  EXPECT_FLOAT_EQ(scores[19], scores[7]) << "of 19 copies the most recent one is spared";
  for (size_t slot = 20; slot < scores.size(); ++slot) EXPECT_EQ(scores[slot], kNever) << "the last tokens are kept";
}

TEST(Scorers, RKvTakesTheSoftmaxOfTheLargestProductInTheGroup) {
  // Eight keys at right angles: all equally redundant.
  std::vector<Vector> keys(kDim + RKv::kWindow, {1, 1});
  for (size_t i = 0; i < kDim; ++i) {
    keys[i] = {};
    keys[i][i] = 1.0F;
  }
  Few few(keys, {}, 2);
  const float unit = std::sqrt(static_cast<float>(kDim));
  std::array<float, 2 * kDim> queries{};
  queries[0] = unit * std::log(3.0F);             // the first query head looks at key 0
  queries[2 * kDim - 1] = unit * std::log(5.0F);  // and the second one at key 7
  const Vector any{};
  const Token token{16, 'a', queries.data(), any.data(), any.data()};
  RKv scorer(100);
  scorer.attended(few.head, token, {});
  const std::vector<float> scores = few.scores(scorer, token);
  // Of 3 + 6 * 1 + 5, pooled.
  for (size_t slot = 0; slot < 4; ++slot) EXPECT_NEAR(scores[slot], 0.9F / 8 - 0.1F * 3 / 14, 1e-6F) << slot;
  for (size_t slot = 4; slot < 8; ++slot) EXPECT_NEAR(scores[slot], 0.9F / 8 - 0.1F * 5 / 14, 1e-6F) << slot;
}

TEST(Scorers, KeyNormEvictsTheLongestKey) {
  Few few({{1, 0}, {3, 4}, {0, -2}});
  KeyNorm scorer;
  EXPECT_EQ(few.scores(scorer, few.next({9, 9})), (std::vector<float>{1, 5, 2}));
  EXPECT_EQ(few.victim(scorer, few.next({9, 9})), 1U);
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

}  // namespace
}  // namespace hashevict::lab::baselines
