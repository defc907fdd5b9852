// SPDX-License-Identifier: Apache-2.0
// Learned projections: a layer takes no token before its projection is set.
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

Config learned_config() {
  Config config = small_config();
  config.rule.projection_kind = ProjectionKind::learned;
  return config;
}

using OperationOfC = AnyOperation;

constexpr std::array<std::pair<const char*, OperationOfC>, 4> kTakeTokens{
    {{"prefill", any_prefill}, {"evict", any_evict}, {"append", any_append}, {"decode", any_decode}}};

Outcome run(Cache& cache, OperationOfC operation, int32_t layer) {
  StepData data{cache.config(), 2, 1};
  data.args.layer = layer;
  const AnyArgs args = data.args;
  const Outcome outcome =
      outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); });
  EXPECT_EQ(data.outputs_untouched(), outcome.status != HASHEVICT_OK);
  return outcome;
}

TEST(LearnedProjection, IsWaitedForByEveryOperationThatNeedsCodes) {
  for (const auto& [name, operation] : kTakeTokens) {
    Cache cache{learned_config()};
    const Refusal refusal{HASHEVICT_INVALID_STATE, {name, "layer 1", "set_projection", "LEARNED"}};
    expect_refused(run(cache, operation, 1), refusal);
    EXPECT_EQ(cache.statistics(Stream{}).tokens_seen, 0);
    const std::vector<float> numbers = normal_numbers(256, 3);
    cache.set_projection(0, Tensor{numbers.data(), {16, 16}});  // projection of another layer
    expect_refused(run(cache, operation, 1), refusal);
    EXPECT_EQ(run(cache, operation, 0).status, HASHEVICT_OK);
    cache.set_projection(1, Tensor{numbers.data(), {16, 16}});
    EXPECT_EQ(run(cache, operation, 1).status, HASHEVICT_OK);
  }
}

TEST(LearnedProjection, IsWaitedForByEncode) {
  Cache cache{learned_config()};
  const std::vector<float> x = normal_numbers(32, 3);
  std::array<uint8_t, 4> codes{};
  const hashevict_tensor from = Tensor{x.data(), {1, 2, 16}};
  const hashevict_tensor to = Tensor{codes.data(), {1, 2, 2}};
  const auto encode = [&](hashevict_error* error) {
    return hashevict_encode(cache.handle(), 0, 0, HASHEVICT_ENCODE_KEYS, &from, &to, error, nullptr);
  };
  expect_refused(outcome_of(encode), {HASHEVICT_INVALID_STATE, {"encode", "layer 0", "set_projection"}});
  learn_projections(cache, 3);
  EXPECT_EQ(outcome_of(encode).status, HASHEVICT_OK);
}

TEST(LearnedProjection, IsWaitedForByLoad) {
  Cache source{learned_config()};
  learn_projections(source, 3);
  feed(source, 0, 25, 4);
  const std::vector<std::byte> saved = source.save(0, Stream{});
  Cache target{learned_config()};
  const auto load = [&](hashevict_error* error) {
    return hashevict_load(target.handle(), 1, saved.data(), saved.size(), error, nullptr);
  };
  expect_refused(outcome_of(load), {HASHEVICT_INVALID_STATE, {"load", "layer 0", "set_projection"}});
  learn_projections(target, 4);
  expect_refused(outcome_of(load), {HASHEVICT_INVALID_DATA, {"projection"}});
  learn_projections(target, 3);
  EXPECT_EQ(outcome_of(load).status, HASHEVICT_OK);
  EXPECT_EQ(target.save(1, Stream{}), saved);
}

TEST(LearnedProjection, StaysKnownAfterAReset) {
  Cache cache{learned_config()};
  learn_projections(cache, 3);
  feed(cache, 0, 5, 4);
  cache.reset(Stream{});
  EXPECT_NO_THROW(feed(cache, 0, 5, 4));
}

TEST(LearnedProjection, IsZerosUntilItIsGiven) {
  const Cache cache{learned_config()};
  std::vector<float> projection(256, kPoison);
  cache.get_projection(0, Tensor{projection.data(), {16, 16}});
  EXPECT_THAT(projection, ::testing::Each(0.0F));
}

TEST(LearnedProjection, ThatWasRefusedIsNotThere) {
  Cache cache{learned_config()};
  std::vector<float> numbers = normal_numbers(256, 3);
  numbers[200] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(cache.set_projection(0, Tensor{numbers.data(), {16, 16}}), Error);
  EXPECT_EQ(run(cache, any_append, 0).status, HASHEVICT_INVALID_STATE);
}

TEST(LearnedProjection, IsWhatPresetRecallWaitsFor) {
  Config config = small_config();
  config.rule = Rule{Preset::recall};
  Cache cache{config};
  expect_refused(run(cache, any_decode, 0), {HASHEVICT_INVALID_STATE, {"decode", "layer 0", "LEARNED"}});
  learn_projections(cache, 1);
  EXPECT_EQ(run(cache, any_decode, 0).status, HASHEVICT_OK);
}

TEST(LearnedProjection, IsNotNeededToAttendToNothing) {
  Cache cache{learned_config()};
  EXPECT_EQ(run(cache, any_attend, 0).status, HASHEVICT_OK);
}

}  // namespace
}  // namespace hashevict::test
