// SPDX-License-Identifier: Apache-2.0
// Compares the harness' cache with the library's: only the score may differ.
#include "eval/baselines/scored_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "engine/decoder.hpp"
#include "engine/random_model.hpp"
#include "eval/baselines/scorers.hpp"

namespace hashevict::lab {
namespace {

using baselines::Head;
using baselines::ScoredCache;
using baselines::Token;

// Evicts the oldest first, like the library's policy `window`.
class Oldest : public baselines::Scorer {
 public:
  void score(const Head& head, const Token& /*token*/, std::span<float> scores) override {
    for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = -static_cast<float>(head.positions()[slot]);
  }
};

// Evicts the newest first; records the position that it was asked for.
class Newest : public baselines::Scorer {
 public:
  explicit Newest(int32_t& asked_for) : asked_for_(asked_for) {}
  void score(const Head& head, const Token& token, std::span<float> scores) override {
    asked_for_ = token.position;
    for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = static_cast<float>(head.positions()[slot]);
  }

 private:
  int32_t& asked_for_;
};

class BesideTheLibrary : public testing::Test {
 protected:
  BesideTheLibrary() : model_(engine::random_model(engine::odd_config())), threads_(1) {}

  // Logits of every token, streamed in two calls.
  std::vector<float> logits(engine::AttentionCache& cache, const std::vector<int32_t>& tokens) {
    engine::Decoder decoder(model_, cache, threads_);
    const std::span<const int32_t> all(tokens);
    const std::span<const float> first = decoder.stream(all.first(tokens.size() / 2), engine::Logits::all);
    std::vector<float> result(first.begin(), first.end());
    const std::span<const float> second = decoder.stream(all.subspan(tokens.size() / 2), engine::Logits::all);
    result.insert(result.end(), second.begin(), second.end());
    return result;
  }

  ScoredCache scored(
      int32_t capacity, const ScoredCache::MakeScorer& make = [] { return std::make_unique<Oldest>(); }) const {
    const engine::ModelConfig& m = model_.config();
    return ScoredCache({m.num_layers, {m.num_qo_heads, m.num_kv_heads, m.head_dim}, capacity, 60, 2, 3}, make);
  }

  engine::KvCache library(int32_t capacity) {
    Config config = engine::KvCache::make_config(model_.config(), capacity);
    config.rule.policy = Policy::window;
    config.rule.num_sink_tokens = 2;
    config.rule.recent_window = 3;
    return engine::KvCache(config, threads_);
  }

  void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-4F) << "logit " << i;
  }

  engine::Model model_;
  engine::ThreadPool threads_;
};

TEST_F(BesideTheLibrary, HoldingEveryTokenGivesTheSameLogits) {
  const std::vector<int32_t> tokens = engine::random_tokens(model_.config(), 70);
  ScoredCache ours = scored(70);
  engine::KvCache theirs = library(70);
  expect_near(logits(ours, tokens), logits(theirs, tokens));
}

TEST_F(BesideTheLibrary, TheSameScoreEvictsTheSameTokens) {
  const std::vector<int32_t> tokens = engine::random_tokens(model_.config(), 70);
  ScoredCache ours = scored(20);
  engine::KvCache theirs = library(20);
  expect_near(logits(ours, tokens), logits(theirs, tokens));
}

TEST_F(BesideTheLibrary, APromptIsCompressedToTheCapacityAndDecodingGoesOn) {
  const std::vector<int32_t> tokens = engine::random_tokens(model_.config(), 60);
  ScoredCache cache = scored(20);
  engine::Decoder decoder(model_, cache, threads_);
  decoder.prefill(std::span(tokens).first(50), {}, engine::Logits::last);
  std::vector<int32_t> expected = {0, 1};
  for (int32_t position = 32; position < 50; ++position) expected.push_back(position);
  const std::span<const int32_t> held = cache.head(0, 0).positions();
  // Largest scores go first: here those are the oldest but for the sinks.
  EXPECT_EQ(std::vector<int32_t>(held.begin(), held.end()), expected);
  decoder.stream(std::span(tokens).subspan(50), engine::Logits::last);
  EXPECT_EQ(cache.head(0, 0).length(), 20U);
  EXPECT_EQ(cache.tokens_seen(), 60);
}

TEST_F(BesideTheLibrary, APromptIsCompressedForTheTokenThatComesNext) {
  int32_t asked_for = 0;
  ScoredCache cache = scored(20, [&] { return std::make_unique<Newest>(asked_for); });
  engine::Decoder decoder(model_, cache, threads_);
  decoder.prefill(engine::random_tokens(model_.config(), 50), {}, engine::Logits::last);
  EXPECT_EQ(asked_for, 50);
  std::vector<int32_t> expected(17);
  std::iota(expected.begin(), expected.end(), 0);
  expected.insert(expected.end(), {47, 48, 49});  // the recent window of the next step
  const std::span<const int32_t> held = cache.head(0, 0).positions();
  EXPECT_EQ(std::vector<int32_t>(held.begin(), held.end()), expected);
}

TEST_F(BesideTheLibrary, TheHeadsOfALayerEvictAlikeUnderTovaAlone) {
  const std::vector<int32_t> tokens = engine::random_tokens(model_.config(), 70);
  for (const size_t num_prefilled : {size_t{1}, size_t{60}}) {
    ScoredCache tova = scored(20, [] { return std::make_unique<baselines::Tova>(); });
    ScoredCache h2o = scored(20, [] { return std::make_unique<baselines::H2o>(); });
    for (ScoredCache* cache : {&tova, &h2o}) {
      engine::Decoder decoder(model_, *cache, threads_);
      decoder.prefill(std::span(tokens).first(num_prefilled), {}, engine::Logits::none);
      decoder.stream(std::span(tokens).subspan(num_prefilled), engine::Logits::none);
    }
    const auto held = [](const ScoredCache& cache, int32_t layer, int32_t head) {
      const std::span<const int32_t> positions = cache.head(layer, head).positions();
      return std::set<int32_t>(positions.begin(), positions.end());
    };
    EXPECT_EQ(held(tova, 0, 0), held(tova, 0, 1));
    EXPECT_EQ(held(tova, 1, 0), held(tova, 1, 1));
    EXPECT_NE(held(tova, 0, 0), held(tova, 1, 0)) << "layers evict alone";
    EXPECT_NE(held(h2o, 0, 0), held(h2o, 0, 1));
  }
}

TEST_F(BesideTheLibrary, CapacityMustLeaveASlotToEvict) {
  EXPECT_THROW(scored(5), Error);
  EXPECT_NO_THROW(scored(6));
}

}  // namespace
}  // namespace hashevict::lab
