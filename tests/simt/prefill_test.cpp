// SPDX-License-Identifier: Apache-2.0
// Prompts in situations that only the device meets: refusals without a wait, slots that do not fit into shared memory,
// and sizes that take a block several turns.
#include <gtest/gtest.h>

#include <string>

#include "support/twins.hpp"

namespace hashevict::test {
namespace {

/// A single head, so that long prompts finish soon.
Config one_head(int32_t capacity) {
  Config config = small_config();
  config.shape.num_qo_heads = 2;
  config.shape.num_kv_heads = 1;
  config.shape.head_dim = 8;
  config.shape.num_sequences = 1;
  config.shape.capacity = capacity;
  config.execution.max_batch_tokens = 8192;
  return config;
}

Options in_mode(PrefillMode mode, int32_t window = 32) {
  Options options;
  options.mode = mode;
  options.window = window;
  return options;
}

/// Expects that a call leaves sequence 0 as it was and still takes the tokens of sequence 1.
void expect_refused(Twins& twins, Inputs& inputs, std::size_t count, const Options& options) {
  const Config& config = twins.cache.config();
  const State before = twins.cache.state(0, 0);
  const Tokens tokens = inputs.draw(config, count);
  const Tokens others = inputs.draw(config, 40);
  const std::vector<Outcome> outcomes = twins.cache.run(Operation::prefill, {{0, tokens}, {1, others}}, options);
  const std::vector<int32_t> nothing(count * static_cast<std::size_t>(config.shape.num_kv_heads), -1);
  EXPECT_EQ(outcomes[0].slots, nothing);
  EXPECT_EQ(outcomes[0].victims, nothing);
  expect_same(twins.cache.state(0, 0), before);

  Twins alone{twins.cache.backend(), config};
  const std::vector<Outcome> expected = alone.run(Operation::prefill, {{1, others}}, options);
  expect_same(outcomes[1], expected[0]);
  expect_same(twins.cache.state(0, 1), alone.cache.state(0, 1));
  twins.run(Operation::decode, {{0, inputs.draw(config, 30)}});  // centres and accumulators are unchanged, too
}

TEST(DevicePrefill, RefusesAChunkOfModeWindowAfterAnEviction) {
  for (const Policy policy : {Policy::hash, Policy::superseded, Policy::mean, Policy::votes, Policy::importance}) {
    SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)));
    Config config = small_config();
    config.rule.policy = policy;
    Twins twins{Backend::cuda, config};
    Inputs inputs{1};
    twins.run(Operation::append, {{0, inputs.draw(config, 25)}});
    expect_refused(twins, inputs, 40, in_mode(PrefillMode::window));
  }
}

TEST(DevicePrefill, RefusesALastChunkThatIsShorterThanTheWindow) {
  Twins twins{Backend::cuda, small_config()};
  Inputs inputs{2};
  const Options options = in_mode(PrefillMode::window, 8);
  twins.run(Operation::prefill, {{0, inputs.draw(small_config(), 20)}}, options);
  expect_refused(twins, inputs, 7, options);
}

TEST(DevicePrefill, RefusesASecondChunkWhoseCenterNobodyHasGiven) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE("mode " + std::to_string(static_cast<int>(mode)));
    Config config = small_config();
    config.rule.centering = Centering::prompt;
    Twins twins{Backend::cuda, config};
    Inputs inputs{3};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 30)}}, in_mode(mode));
    expect_refused(twins, inputs, 40, in_mode(mode));
  }
}

TEST(DevicePrefill, SlotsThatDoNotFitSharedMemoryAreLeftWhereTheyAre) {
  for (const Policy policy : {Policy::hash, Policy::mean, Policy::superseded}) {
    SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)));
    Config config = one_head(5020);
    config.rule.hash_bits = 128;
    config.rule.policy = policy;
    Twins twins{Backend::cuda, config};
    Inputs inputs{4};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 5023)}}, in_mode(PrefillMode::recent));
    twins.run(Operation::prefill, {{0, inputs.draw(config, 6)}}, in_mode(PrefillMode::replay));
    twins.run(Operation::prefill, {{0, inputs.draw(config, 5)}}, in_mode(PrefillMode::recent));
    twins.expect_same_state();
    twins.run(Operation::append, {{0, inputs.draw(config, 3)}});
    twins.expect_same_state();
  }
}

void expect_rows_moved_down(Policy policy, DType dtype, Arrangement arrangement) {
  SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)) + ", dtype " +
               std::to_string(static_cast<int>(dtype)) + ", arrangement " +
               std::to_string(static_cast<int>(arrangement)));
  Config config = one_head(1300);
  config.rule.policy = policy;
  config.shape.dtype = dtype;
  Twins twins{Backend::cuda, config, arrangement};
  Inputs inputs{5};
  const Options options = in_mode(PrefillMode::window, 20);
  twins.run(Operation::prefill, {{0, inputs.draw(config, 1290)}}, options);
  twins.run(Operation::prefill, {{0, inputs.draw(config, 700)}}, options);
  twins.expect_same_state();
  twins.run(Operation::append, {{0, inputs.draw(config, 3)}});
  twins.expect_same_state();
}

TEST(DevicePrefill, ManyCachedRowsMoveToLowerSlots) {
  for (const Policy policy : {Policy::superseded, Policy::mean, Policy::votes, Policy::importance}) {
    expect_rows_moved_down(policy, DType::float32, Arrangement::owned);
  }
  for (const DType dtype : {DType::float32, DType::float16}) {
    for (const Arrangement arrangement : {Arrangement::owned, Arrangement::padded_pages, Arrangement::csr_head_pages}) {
      expect_rows_moved_down(Policy::hash, dtype, arrangement);
    }
  }
}

TEST(DevicePrefill, CenterOverManyBlocksOfTokens) {
  for (const int32_t head_dim : {24, 256}) {  // many blocks side by side, and several turns of two
    SCOPED_TRACE("head_dim " + std::to_string(head_dim));
    Config config = one_head(64);
    config.shape.head_dim = head_dim;
    config.rule.centering = Centering::prompt;
    Twins twins{Backend::cuda, config};
    Inputs inputs{6};
    twins.run(Operation::prefill, {{0, inputs.draw(config, 1300)}}, in_mode(PrefillMode::recent));
    twins.expect_same_state();
    twins.run(Operation::append, {{0, inputs.draw(config, 10)}});
    twins.expect_same_state();
  }
}

}  // namespace
}  // namespace hashevict::test
