// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <random>

#include "properties/stream.hpp"
#include "support/backend_test.hpp"

/// A sequence's state is a function of its own inputs alone, whatever the batches that contain them.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Batches);

/// Feeds four sequences in batches of random composition: ragged, permuted rows, rows skipped, rows without tokens.
std::vector<Outcome> run_shuffled(TestCache& cache, const std::vector<Tokens>& tokens, uint32_t seed) {
  std::mt19937 random{seed};
  std::vector<Outcome> all(tokens.size());
  std::vector<std::size_t> done(tokens.size(), 0);
  const auto finished = [&] {
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      if (done[s] < tokens[s].count) return false;
    }
    return true;
  };
  while (!finished()) {
    std::vector<std::size_t> order(tokens.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    Batch batch;
    for (const std::size_t s : order) {
      if (random() % 4 == 0) batch.push_back({-1, slice(cache.config(), tokens[s], 0, random() % 3)});
      const std::size_t count = std::min<std::size_t>(random() % 5, tokens[s].count - done[s]);
      batch.push_back({static_cast<int32_t>(s), slice(cache.config(), tokens[s], done[s], count)});
    }
    const std::vector<Outcome> outcomes = cache.run(Operation::decode, batch);
    for (std::size_t r = 0; r < batch.size(); ++r) {
      if (batch[r].sequence < 0) continue;
      const auto s = static_cast<std::size_t>(batch[r].sequence);
      join(all[s], outcomes[r]);
      done[s] += batch[r].tokens.count;
    }
  }
  return all;
}

TEST_P(Batches, OfAnyCompositionGiveEachSequenceTheSameBits) {
  for (const Config& base : configs_with_ragged_heads(small_config())) {
    SCOPED_TRACE(testing::Message() << "policy " << static_cast<int>(base.rule.policy) << ", seed 1");
    Config config = base;
    config.shape.num_sequences = 4;
    Inputs inputs{1};
    std::vector<Tokens> tokens;
    for (const std::size_t count : Counts{50, 33, 70, 4}) tokens.push_back(inputs.draw(config, count));
    TestCache mixed{GetParam(), config};
    const std::vector<Outcome> outcomes = run_shuffled(mixed, tokens, 1);
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      SCOPED_TRACE(testing::Message() << "sequence " << s);
      Config single = config;
      single.shape.num_sequences = 1;
      TestCache alone{GetParam(), single};
      expect_same(outcomes[s], alone.run(Operation::decode, {{0, tokens[s]}}).front());
      expect_same(mixed.state(0, static_cast<int32_t>(s)), alone.state(0, 0));
    }
  }
}

TEST_P(Batches, OfPromptsGiveEachSequenceTheSameBits) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", seed 2");
    Config config = small_config();
    config.shape.num_sequences = 3;
    config.rule.centering = Centering::prompt;
    Options options;
    options.mode = mode;
    options.window = 5;
    options.attention = PrefillAttention::full;
    Inputs inputs{2};
    const Batch batch{{2, inputs.draw(config, 60)}, {0, inputs.draw(config, 24)}, {1, inputs.draw(config, 35)}};
    TestCache mixed{GetParam(), config};
    const std::vector<Outcome> outcomes = mixed.run(Operation::prefill, batch, options);
    for (std::size_t r = 0; r < batch.size(); ++r) {
      TestCache alone{GetParam(), config};
      expect_same(outcomes[r], alone.run(Operation::prefill, {batch[r]}, options).front());
      expect_same(mixed.state(0, batch[r].sequence), alone.state(0, batch[r].sequence));
    }
  }
}

TEST_P(Batches, NeverTouchOtherSequencesOrLayers) {
  SCOPED_TRACE("seed 3");
  Config config = small_config();
  config.shape.num_layers = 2;
  config.shape.num_sequences = 3;
  TestCache cache{GetParam(), config};
  Inputs inputs{3};
  for (Options options; options.layer < 2; ++options.layer) {
    cache.run(Operation::append,
              {{0, inputs.draw(config, 30)}, {1, inputs.draw(config, 9)}, {2, inputs.draw(config, 40)}}, options);
  }
  const std::vector<State> before = cache.states();
  for (const Operation operation : {Operation::prefill, Operation::evict, Operation::append, Operation::decode}) {
    cache.run(operation, {{1, inputs.draw(config, 30, DType::float32, Flavour::special)}});  // layer 0
  }
  const std::vector<State> after = cache.states();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i] == before[i], i != 1) << "state " << i;
}

TEST_P(Batches, WithNaNInOneRowLeaveTheOthersBits) {
  SCOPED_TRACE("seed 4");
  const Config config = small_config();
  TestCache clean{GetParam(), config};
  TestCache dirty{GetParam(), config};
  Inputs inputs{4};
  const Tokens tokens = inputs.draw(config, 40);
  const auto expected = clean.run(Operation::decode, {{0, tokens}, {1, inputs.draw(config, 40)}});
  const Tokens special = inputs.draw(config, 40, DType::float32, Flavour::special);
  expect_same(dirty.run(Operation::decode, {{1, special}, {0, tokens}})[1], expected[0]);
}

TEST_P(Batches, WithNaNInOneHeadLeaveTheOthersBits) {
  SCOPED_TRACE("seed 5");
  const Config config = small_config();
  TestCache clean{GetParam(), config};
  TestCache dirty{GetParam(), config};
  Inputs inputs{5};
  Tokens tokens = inputs.draw(config, 40);
  const Outcome expected = clean.run(Operation::decode, {{0, tokens}}).front();
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t e = 0; e < 16; ++e) tokens.k[i * 32 + e] = std::numeric_limits<float>::quiet_NaN();  // KV head 0
  }
  const Outcome outcome = dirty.run(Operation::decode, {{0, tokens}}).front();
  for (std::size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(outcome.victims[2 * i + 1], expected.victims[2 * i + 1]);
    EXPECT_EQ(reference::row(outcome.out, 2 * i + 1, 32), reference::row(expected.out, 2 * i + 1, 32));
  }
}

}  // namespace
}  // namespace hashevict::test
