// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reference/sequence.hpp"
#include "support/element.hpp"
#include "support/every.hpp"

/// The oracle itself, against results computed by hand.
namespace hashevict::reference {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// 8 bits, each the sign of one element.
Projection identity() {
  Projection projection(8, Vector(8, 0.0F));
  for (std::size_t i = 0; i < 8; ++i) projection[i][i] = 1.0F;
  return projection;
}

const Vector kZero(8, 0.0F);

/// A vector whose code under identity() is `byte`.
Vector with_code(unsigned byte) {
  Vector x;
  for (unsigned i = 0; i < 8; ++i) x.push_back((byte >> i & 1U) != 0 ? 1.0F : -1.0F);
  return x;
}

Head small_head(const Settings& settings) {
  return Head{settings, 0, identity()};
}

Settings small_settings() {
  Settings settings;
  settings.capacity = 4;
  settings.hash_bits = 8;
  settings.num_sink_tokens = 1;
  settings.recent_window = 0;
  return settings;
}

Token token(unsigned query, unsigned key) {
  return {{with_code(query)}, with_code(key), Vector(8, 0.0F)};
}

TEST(Oracle, BitIsSetWhereTheSumIsNotNegative) {
  EXPECT_EQ(encode(identity(), {1, -1, 0, -0.0F, 2, -3, kNaN, 5}, kZero), Code{0});  // NaN * 0 is in every sum
  EXPECT_EQ(encode(identity(), {1, -1, 0, -0.0F, 2, -3, -1, 5}, kZero), Code{0b10011101});
  EXPECT_EQ(encode(identity(), {1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 0, 1, 1, 2, 2, 0}), Code{0b10011101});
}

TEST(Oracle, SumIsOneFmaAnElementInOrder) {
  // 1 + 2^-24 rounds to 1 at every step, so the order of the elements decides the sign.
  const Projection ones(8, Vector{1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_EQ(encode(ones, {1, 0x1p-25F, 0x1p-25F, -1, -0x1p-26F, 0, 0, 0}, kZero), Code{0});
  EXPECT_EQ(encode(ones, {0x1p-25F, 0x1p-25F, 1, -1, -0x1p-26F, 0, 0, 0}, kZero), Code{0});
  EXPECT_EQ(encode(ones, {1, -1, 0x1p-25F, 0x1p-25F, -0x1p-26F, 0, 0, 0}, kZero), Code{0xFF});
  // A product is not rounded before it is added: (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24.
  const float x = 1.0F + 0x1p-12F;
  const Projection rows(8, Vector{1.0F + 0x1p-11F, x, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(encode(rows, {-1, x, 0, 0, 0, 0, 0, 0}, kZero), Code{0xFF});
  EXPECT_EQ(encode(rows, {1, -x, 0, 0, 0, 0, 0, 0}, kZero), Code{0});
}

TEST(Oracle, DistanceCountsDifferingBits) {
  EXPECT_EQ(hamming_distance(Code{0b1010, 0xFF}, Code{0b0110, 0x0F}), 6U);
}

TEST(Oracle, RoundingIsToNearestEven) {
  EXPECT_EQ(round_to(Storage::float16, 1.0F + 0x1p-11F), 1.0F);
  EXPECT_EQ(round_to(Storage::float16, 1.0F + 0x3p-11F), 1.0F + 0x1p-9F);
  EXPECT_EQ(round_to(Storage::float16, 65519.0F), 65504.0F);
  EXPECT_EQ(round_to(Storage::float16, 65520.0F), std::numeric_limits<float>::infinity());
  EXPECT_EQ(round_to(Storage::float16, 0x1p-25F), 0.0F);
  EXPECT_EQ(round_to(Storage::float16, 0x1.8p-25F), 0x1p-24F);
  EXPECT_EQ(round_to(Storage::bfloat16, 1.0F + 0x1p-8F), 1.0F);
  EXPECT_EQ(round_to(Storage::bfloat16, -1.0F - 0x3p-8F), -1.0F - 0x1p-6F);
  EXPECT_EQ(round_to(Storage::bfloat16, 0x1p-134F), 0.0F);
  EXPECT_EQ(round_to(Storage::float32, 1.1F), 1.1F);
  EXPECT_TRUE(std::isnan(round_to(Storage::float16, kNaN)));
}

TEST(Oracle, PaperEvictsTheFarthestFromTheQuery) {
  Head head = small_head(small_settings());
  for (const unsigned key : {0xFFU, 0x01U, 0x0FU, 0x00U}) EXPECT_EQ(head.step(token(0, key)).victim, -1);
  const Placement placement = head.step(token(0, 0));  // 0xFF is farther from 0, but it is a sink
  EXPECT_EQ(placement.victim, 2);
  EXPECT_EQ(placement.slot, 2);
  EXPECT_EQ(head.slots[2].position, 4);
}

TEST(Oracle, QueriesOfTheGroupAddTheirDistances) {
  Settings settings = small_settings();
  settings.num_qo_heads = 2;
  Head head = small_head(settings);
  const auto step = [&](unsigned key) {
    return head.step({{with_code(0x00), with_code(0xF0)}, with_code(key), Vector(8, 0.0F)});
  };
  for (const unsigned key : {0U, 0x03U, 0xF0U, 0x0CU}) step(key);  // distances 2 + 6, 4 + 0, 2 + 6 after the sink
  EXPECT_EQ(step(0).victim, 1);
}

TEST(Oracle, AuthorsEvictTheFarthestFromTheNewKeyAndTheLowestSlot) {
  Settings settings = small_settings();
  settings.probe_new_key = true;
  settings.lowest_slot_first = true;
  Head head = small_head(settings);
  for (const unsigned key : {0U, 0xF0U, 0x0FU, 0xFFU}) head.step(token(0, key));
  EXPECT_EQ(head.step(token(0xFF, 0xFF)).victim, 1);  // 4, 4 and 0: slot 1 of two
  EXPECT_EQ(head.step(token(0, 0x0F)).victim, 4);     // slot 1 again: 4, against 0 and 4 at a higher slot
}

TEST(Oracle, TiesTakeTheOldest) {
  Head head = small_head(small_settings());
  for (int i = 0; i < 4; ++i) head.step(token(0, 0));
  for (std::int32_t i = 1; i < 9; ++i) EXPECT_EQ(head.step(token(0, 0)).victim, i);
}

TEST(Oracle, WindowEvictsTheOldestWhateverTheTieRule) {
  Settings settings = small_settings();
  settings.policy = Policy::window;
  settings.lowest_slot_first = true;
  Head head = small_head(settings);
  for (unsigned key = 0; key < 4; ++key) head.step(token(0, key));
  for (std::int32_t i = 1; i < 9; ++i) EXPECT_EQ(head.step(token(0, 0)).victim, i);
}

TEST(Oracle, MeanEvictsTheClosest) {
  Settings settings = small_settings();
  settings.policy = Policy::mean;
  Head head = small_head(settings);
  for (const unsigned key : {0xFFU, 0x0FU, 0xF7U, 0xFFU}) head.step(token(0, key));
  EXPECT_EQ(head.step(token(0, 0xFF)).victim, 3);  // the mean is 0xFF
}

TEST(Oracle, VotesEvictTheFewestBitsSet) {
  Settings settings = small_settings();
  settings.policy = Policy::votes;
  Head head = small_head(settings);
  for (const unsigned key : {0x00U, 0x0FU, 0x81U, 0x07U}) head.step(token(0xFF, key));
  EXPECT_EQ(head.step(token(0xFF, 0xFF)).victim, 2);  // two votes; the sink, with none, is protected
}

TEST(Oracle, SupersededEvictsWhatALaterKeyRepeats) {
  Settings settings = small_settings();
  settings.policy = Policy::superseded;
  Head head = small_head(settings);
  for (const unsigned key : {0U, 0x01U, 0xF0U, 0xF1U}) head.step(token(0, key));
  EXPECT_EQ(head.slots[1].smallest_distance, 4U);
  EXPECT_EQ(head.slots[2].smallest_distance, 1U);
  EXPECT_EQ(head.slots[3].smallest_distance, 255U);
  EXPECT_EQ(head.step(token(0, 0x0E)).victim, 2);  // 0x01 reaches 4
}

TEST(Oracle, PinnedPositionsGoLast) {
  Settings settings = small_settings();
  settings.pin_prompt = true;
  Head head = small_head(settings);
  prefill(head, {token(0, 0), token(0, 0xFF), token(0, 0xFF)}, PrefillMode::replay, 1);
  EXPECT_EQ(head.prompt_length, 3);
  head.step(token(0, 0));
  EXPECT_EQ(head.step(token(0, 0)).victim, 3);  // 0xFF is farther, but pinned
}

TEST(Oracle, WindowPrefillKeepsTheNearestToTheLastQueries) {
  Head head = small_head(small_settings());
  const auto placements = prefill(
      head, {token(9, 0xFF), token(9, 0x01), token(9, 0x00), token(9, 0x00), token(0, 0xFF)}, PrefillMode::window, 1);
  ASSERT_EQ(head.slots.size(), 4U);
  EXPECT_EQ(head.slots[1].position, 2);  // the sink, both 0x00, the last
  EXPECT_EQ(head.slots[3].position, 4);
  EXPECT_EQ(placements[1].slot, -1);
  EXPECT_EQ(placements[4].slot, 3);
}

TEST(Oracle, RecentPrefillKeepsSinksAndTheEnd) {
  Head head = small_head(small_settings());
  prefill(head, std::vector<Token>(9, token(0, 0)), PrefillMode::recent, 1);
  for (std::size_t j = 1; j < 4; ++j) EXPECT_EQ(head.slots[j].position, static_cast<std::int32_t>(j) + 5);
  prefill(head, std::vector<Token>(2, token(0, 0)), PrefillMode::recent, 1);
  EXPECT_EQ(head.slots[0].position, 0);
  EXPECT_EQ(head.slots[1].position, 9);
  EXPECT_EQ(head.slots[2].position, 10);
  EXPECT_EQ(head.slots[3].position, 8);
}

TEST(Oracle, AttentionIsTheSoftmaxAverage) {
  Settings settings = small_settings();
  Head head = small_head(settings);
  const Vector up{1, 0, 0, 0, 0, 0, 0, 0};
  head.step({{kZero}, kZero, Vector(8, 1.0F)});
  head.step({{kZero}, up, Vector(8, 3.0F)});
  const double logit = std::log(3.0);
  const AttentionOptions options{logit, 0.0};
  const Attention attention = attend(head, up, 1, options);  // weights 1/4 and 3/4
  EXPECT_NEAR(attention.out[0], 2.5, 1e-12);
  EXPECT_NEAR(attention.lse, std::log(4.0), 1e-12);
  EXPECT_NEAR(attend(head, up, 0, options).out[0], 1.0, 1e-12);  // sees the first only
  EXPECT_EQ(attend(head, up, -1, options).num_slots, 0U);
  const double capped = 0.5 * std::tanh(logit / 0.5);
  EXPECT_NEAR(attend(head, up, 1, {logit, 0.5}).lse, std::log(1.0 + std::exp(capped)), 1e-12);
}

TEST(Oracle, MeanOfVectorsIsSummedInBlocks) {
  // 2^24 + 1 + 1 + ... does not grow; the ones of the second block are summed before they meet it.
  std::vector<Vector> vectors(300, Vector{1.0F});
  vectors[0] = {0x1p24F};
  EXPECT_EQ(mean(vectors), Vector{(0x1p24F + 44.0F) / 300.0F});
}

TEST(Oracle, FractionsRoundDown) {
  EXPECT_EQ(slots_of_fraction(0.5F, 25), 12);
  EXPECT_EQ(slots_of_fraction(0.1F, 10), 1);  // 0.1F is slightly above 0.1
  EXPECT_EQ(slots_of_fraction(0.7F, 10), 7);  // 0.7F is slightly below 0.7, but the product rounds to 7 in fp32
  EXPECT_EQ(slots_of_fraction(0.7F, 11), 7);
  EXPECT_EQ(slots_of_fraction(0.9F, 10), 9);
}

TEST(Oracle, ElementsOfTestsKeepEveryValue) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    for (const DType dtype : test::kHalves) {
      const float value = test::load(dtype, &bits);
      if (std::isnan(value)) continue;
      std::uint16_t back = 0;
      test::store(dtype, value, &back);
      ASSERT_EQ(back, bits) << "dtype " << static_cast<int>(dtype);
      ASSERT_EQ(round_to(test::storage_of(dtype), value), value);
    }
  }
}

}  // namespace
}  // namespace hashevict::reference
