// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/scores.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "cli/demo/policies.hpp"
#include "cli/demo/retention.hpp"
#include "cli/votes.hpp"
#include "engine/embedded_model.hpp"
#include "engine/generate.hpp"

namespace hashevict::cli {
namespace {

class Scores : public testing::Test {
 protected:
  engine::Model model_ = engine::load_embedded_model();
  engine::ThreadPool threads_{2};
  Votes votes_ = Votes::embedded(model_.config());
  Runtime runtime_{model_, threads_, &votes_};
  std::string_view text_ = engine::embedded_sample_text().substr(2000, 199);

  Config config(std::string_view policy, int32_t slots) const {
    return policy_config(policy, model_.config(), slots, 1);
  }
};

TEST_F(Scores, BudgetOfAllTokensIsTheFullCache) {
  const double full = nats_per_byte(runtime_, config(kFull, 200), text_);
  for (const std::string_view policy : kPolicies) EXPECT_EQ(nats_per_byte(runtime_, config(policy, 200), text_), full);
}

TEST_F(Scores, SmallBudgetChangesTheScore) {
  const double full = nats_per_byte(runtime_, config(kFull, 200), text_);
  for (const std::string_view policy : kPolicies) EXPECT_NE(nats_per_byte(runtime_, config(policy, 40), text_), full);
}

TEST_F(Scores, BatchesOfTokensAreStepsOfTokens) {
  engine::KvCache cache(config("paper", 60), threads_);
  engine::Decoder decoder(model_, cache, threads_);
  const std::vector<int32_t> tokens = sequence_tokens(model_.config(), text_);
  double total = 0.0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    total +=
        engine::negative_log_likelihood(decoder.stream(std::span(&tokens[i], 1), engine::Logits::last), tokens[i + 1]);
  }
  const double by_step = total / static_cast<double>(tokens.size() - 1);
  // The attention of a batch sums in another order, so a sign of a code may differ now and then. One slot shows
  // clearly.
  constexpr double kRounding = 1e-4;
  EXPECT_NEAR(nats_per_byte(runtime_, config("paper", 60), text_), by_step, kRounding);
  EXPECT_GT(std::abs(nats_per_byte(runtime_, config("paper", 59), text_) - by_step), 2 * kRounding);
}

TEST_F(Scores, AnswerThatIsNotTheModelsIsWrong) {
  // The model can expect only one of the two after this prompt.
  const Example a{{std::string(text_), "a"}, {}};
  const Example b{{std::string(text_), "b"}, {}};
  EXPECT_LE(recall(runtime_, config(kFull, 300), a) + recall(runtime_, config(kFull, 300), b), 1.0);
}

TEST_F(Scores, EveryByteOfTheAnswerCounts) {
  const Config full = config(kFull, 300);
  Example example{{std::string(text_), ""}, {}};
  for (int right = 0; right < 2; ++right) {
    example.answer.push_back('\0');
    int byte = 0;
    while (byte < 256 && recall(runtime_, full, example) != 1.0) example.answer.back() = static_cast<char>(++byte);
    ASSERT_LT(byte, 256) << "no byte is the most likely one";
  }
  Example wrong = example;
  wrong.answer.back() = '\x01';  // never written by anybody
  EXPECT_EQ(recall(runtime_, full, wrong), 0.0);
  wrong.answer = '\x01' + example.answer.substr(1);
  EXPECT_EQ(recall(runtime_, full, wrong), 0.0);
}

TEST_F(Scores, SpeedIsPositive) {
  EXPECT_GT(tokens_per_second(runtime_, config("paper", 60), text_, 8), 0.0);
}

TEST_F(Scores, BytesCountWhatAPolicyKeeps) {
  const engine::ModelConfig& shape = model_.config();
  const auto slots = static_cast<uint64_t>(shape.num_layers) * static_cast<uint64_t>(shape.num_kv_heads) * 64;
  const uint64_t kv = slots * 2 * static_cast<uint64_t>(shape.head_dim) * 2;
  EXPECT_EQ(kv_bytes(kFull, config(kFull, 64)), kv);
  EXPECT_EQ(kv_bytes("random", config("random", 64)), kv + slots * 4) << "positions";
  EXPECT_EQ(kv_bytes("window", config("window", 64)), kv + slots * 4);
  EXPECT_EQ(kv_bytes("paper", config("paper", 64)), kv + slots * (4 + 2)) << "and codes";
  EXPECT_EQ(kv_bytes("superseded", config("superseded", 64)), kv + slots * (4 + 8 + 1));
  EXPECT_EQ(kv_bytes("recall", config("recall", 64)), kv + slots * (4 + 4)) << "and codes of 32 bits";
  Config divided = config("recall", 64);
  divided.shape.capacities = capacities_of_layers({32, 128, 32}, divided.shape.num_kv_heads);
  EXPECT_EQ(kv_bytes("recall", divided), kv_bytes("recall", config("recall", 64)));
}

TEST_F(Scores, UnknownPolicyIsRefused) {
  EXPECT_THROW(config("best", 64), Error);
  EXPECT_THROW(config("h2o", 64), Error) << "needs attention weights";
}

TEST_F(Scores, RetentionCountsAreTheSlots) {
  const Example example{{std::string(text_), "a"}, {10, 20}};
  for (const std::string_view policy : kPolicies) {
    const Retention retention = follow(runtime_, policy, 0.4, example, 1);
    const auto tokens = static_cast<int32_t>(text_.size()) + 1;
    ASSERT_EQ(retention.heads.size(), retention.head_slots.size());
    for (size_t i = 0; i < retention.heads.size(); ++i) {
      const HeadRetention& head = retention.heads[i];
      ASSERT_EQ(head.evicted_at.size(), static_cast<size_t>(tokens));
      EXPECT_EQ(std::count(head.evicted_at.begin(), head.evicted_at.end(), tokens),
                std::min(tokens, retention.head_slots[i]));
      for (int32_t position = 0; position < tokens; ++position) {
        EXPECT_GT(head.evicted_at[static_cast<size_t>(position)], position);
      }
      for (int32_t sink = 0; sink < 4; ++sink) EXPECT_EQ(head.evicted_at[static_cast<size_t>(sink)], tokens);
    }
  }
}

}  // namespace
}  // namespace hashevict::cli
