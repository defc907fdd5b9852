// SPDX-License-Identifier: Apache-2.0
// The harness' cache against the library's, which it is to differ from by the score alone.
#include "eval/baselines/scored_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "../engine/random_model.hpp"
#include "engine/decoder.hpp"
#include "eval/quality/policy_run.hpp"

namespace hashevict::eval {
namespace {

using baselines::Head;
using baselines::ScoredCache;
using baselines::Token;

// The oldest first, as the library's policy `window` has it.
class Oldest : public baselines::Scorer {
 public:
  void score(const Head& head, const Token& /*token*/, std::span<float> scores) override {
    for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = -static_cast<float>(head.positions()[slot]);
  }
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

  ScoredCache scored(int32_t capacity) const {
    const engine::ModelConfig& m = model_.config();
    return ScoredCache({m.num_layers, {m.num_qo_heads, m.num_kv_heads, m.head_dim}, capacity, 2, 3},
                       [](int32_t, int32_t) { return std::make_unique<Oldest>(); });
  }

  engine::KvCache library(int32_t capacity) {
    Config config = engine::KvCache::make_config(model_.config(), capacity);
    config.policy = Policy::window;
    config.num_sink_tokens = 2;
    config.recent_window = 3;
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

TEST_F(BesideTheLibrary, CapacityMustLeaveASlotToEvict) {
  EXPECT_THROW(scored(5), Error);
  EXPECT_NO_THROW(scored(6));
}

TEST_F(BesideTheLibrary, TheOracleLosesLessAttentionThanRandomEviction) {
  const Runtime runtime{model_, threads_};
  const std::vector<int32_t> tokens = engine::random_tokens(model_.config(), 120);
  const baselines::FullAttention attention = record_full_attention(runtime, tokens);
  const Futures futures(attention);
  const auto lost = [&](std::string_view policy) {
    PolicyRun run(runtime, parse_policy(policy), 30, 120, 7, &futures);
    double sum = 0.0;
    for (size_t t = 0; t < tokens.size(); ++t) {
      sum += attention.lost(static_cast<int32_t>(t), run.held());
      run.decoder().stream(std::span(tokens).subspan(t, 1), engine::Logits::none);
    }
    return sum;
  };
  EXPECT_GT(lost("oracle_sum"), 0.0);
  EXPECT_LT(lost("oracle_sum"), lost("random"));
}

}  // namespace
}  // namespace hashevict::eval
