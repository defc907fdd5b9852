// SPDX-License-Identifier: Apache-2.0
#include "engine/decoder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/safetensors.hpp"
#include "reference_llama.hpp"

namespace hashevict::engine {
namespace {

using Tokens = std::vector<std::int32_t>;
using Values = std::vector<float>;

// A model with a cache and a decoder over it.
struct Fixture {
  const Model& model;
  ThreadPool threads{1};
  KvCache cache;
  Decoder decoder;

  Fixture(const Model& m, const hashevict::Config& config)
      : model(m), cache(config, threads), decoder(m, cache, threads) {}
  Fixture(const Model& m, std::int32_t capacity, std::int32_t num_sequences = 1)
      : Fixture(m, KvCache::make_config(m.config(), capacity, num_sequences)) {}

  // Logits of all tokens, streamed in batches of the size given.
  Values stream(const Tokens& tokens, std::size_t batch, std::int32_t sequence = 0) {
    Values all;
    for (std::size_t begin = 0; begin < tokens.size(); begin += batch) {
      const auto part = std::span(tokens).subspan(begin, std::min(batch, tokens.size() - begin));
      const std::span<const float> logits = decoder.stream(part, Logits::all, sequence);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  Values prefill(const Tokens& tokens) {
    const std::span<const float> logits = decoder.prefill(tokens, {}, Logits::all);
    return {logits.begin(), logits.end()};
  }
};

template <class A, class B>
double largest_difference(const A& a, const B& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = difference <= largest ? largest : difference;  // lets NaN through
  }
  return largest;
}

// Every layer adds roundings of 2^-24 of the activations it sums, in an order of its own; a few dozen of them, relative
// to the largest logit, are allowed. A wrong frequency, head or weight shows in the first digit.
double tolerance(double largest_logit) {
  return largest_logit * 0x1p-24 * 200;
}

TEST(Decoder, LogitsAreThoseOfTraining) {
  const std::filesystem::path folder = std::filesystem::path(HASHEVICT_ASSETS) / "tiny-llama";
  const Model model = Model::load(folder);
  const Safetensors golden = Safetensors::open(folder / "golden.safetensors");
  const std::span<const std::int32_t> given = golden.at("tokens").i32();
  const std::span<const float> expected = golden.at("logits").f32();
  const Tokens tokens(given.begin(), given.end());
  double largest = 0;
  for (const float logit : expected) largest = std::max(largest, std::abs(static_cast<double>(logit)));
  ASSERT_GT(largest, 1);
  Fixture fixture(model, 512);
  EXPECT_LT(largest_difference(fixture.prefill(tokens), expected), tolerance(largest));
  fixture.cache.reset();
  EXPECT_LT(largest_difference(fixture.stream(tokens, 7), expected), tolerance(largest));
}

class DecoderOfType : public testing::TestWithParam<ElementType> {};

TEST_P(DecoderOfType, LogitsAreThoseOfPlainLoops) {
  const RandomCheckpoint checkpoint(odd_config(), GetParam(), 5);
  const Model model(odd_config(), [&](std::string_view name) { return checkpoint.find(name); });
  const Tokens tokens = random_tokens(odd_config(), 130);
  const std::vector<double> expected = reference_logits(odd_config(), checkpoint, tokens);
  double largest = 0;
  for (const double logit : expected) largest = std::max(largest, std::abs(logit));
  Fixture fixture(model, 256);
  EXPECT_LT(largest_difference(fixture.prefill(tokens), expected), tolerance(largest));
  fixture.cache.reset();
  EXPECT_LT(largest_difference(fixture.stream(tokens, 11), expected), tolerance(largest));
}

INSTANTIATE_TEST_SUITE_P(Types, DecoderOfType, testing::Values(ElementType::f32, ElementType::f16, ElementType::bf16),
                         [](const auto& instance) { return std::string(element_name(instance.param)); });

TEST(Decoder, LongPromptCrossesBlocksRightly) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 700);
  Fixture fixture(model, 1024);
  const Values prefilled = fixture.prefill(tokens);
  fixture.cache.reset();
  double largest = 0;
  for (const float logit : prefilled) largest = std::max(largest, std::abs(static_cast<double>(logit)));
  EXPECT_LT(largest_difference(fixture.stream(tokens, 64), prefilled), tolerance(largest));
}

TEST(Decoder, BatchedStreamIsTokenByTokenBitForBit) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 150);
  for (const std::int32_t capacity : {24, 256}) {
    const Values single = Fixture(model, capacity).stream(tokens, 1);
    for (const std::size_t batch : {2U, 7U, 64U, 150U}) {
      EXPECT_EQ(Fixture(model, capacity).stream(tokens, batch), single) << capacity << " " << batch;
    }
  }
}

TEST(Decoder, RowsOfABatchAreAsIfAlone) {
  const Model model = random_model(odd_config());
  const Tokens a = random_tokens(odd_config(), 60, 1);
  const Tokens b = random_tokens(odd_config(), 45, 2);
  Values alone = Fixture(model, 24).stream(a, 60);
  const Values second = Fixture(model, 24).stream(b, 45);
  alone.insert(alone.end(), second.begin(), second.end());

  Fixture fixture(model, 24, 3);
  Tokens both = a;
  both.insert(both.end(), b.begin(), b.end());
  const Tokens sequences = {2, 0};
  const Tokens cu_seqlens = {0, 60, 105};
  const std::span<const float> logits = fixture.decoder.stream({both, sequences, cu_seqlens}, Logits::all);
  EXPECT_EQ(Values(logits.begin(), logits.end()), alone);
  EXPECT_EQ(fixture.cache.tokens_seen(2), 60);
  EXPECT_EQ(fixture.cache.tokens_seen(1), 0);
  EXPECT_EQ(fixture.cache.tokens_seen(0), 45);
}

TEST(Decoder, CapacityThatHoldsAllIsThePlainCacheBitForBit) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 150);
  const Values plain = Fixture(model, 4096).stream(tokens, 32);
  for (const Policy policy : {Policy::hash, Policy::window, Policy::superseded}) {
    hashevict::Config config = KvCache::make_config(model.config(), 150);
    config.policy = policy;
    EXPECT_EQ(Fixture(model, config).stream(tokens, 32), plain);
  }
  EXPECT_NE(Fixture(model, 149).stream(tokens, 32), plain);
}

TEST(Decoder, LastLogitsAreTheLastOfAll) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 30);
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  const Values all = Fixture(model, 64).stream(tokens, 30);
  Fixture fixture(model, 64);
  const std::span<const float> last = fixture.decoder.stream(tokens, Logits::last);
  EXPECT_EQ(Values(last.begin(), last.end()), Values(all.end() - static_cast<std::ptrdiff_t>(vocab), all.end()));
  fixture.cache.reset();
  EXPECT_TRUE(fixture.decoder.stream(tokens, Logits::none).empty());
}

TEST(Decoder, PromptContinuesByDecoding) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 100);
  const Values streamed = Fixture(model, 128).stream(tokens, 100);
  Fixture fixture(model, 128);
  Values mixed = fixture.prefill({tokens.begin(), tokens.begin() + 70});
  const Values rest = fixture.stream({tokens.begin() + 70, tokens.end()}, 1);
  mixed.insert(mixed.end(), rest.begin(), rest.end());
  EXPECT_LT(largest_difference(mixed, streamed), 1e-3);
}

TEST(Decoder, BadBatchIsRefusedAndChangesNothing) {
  const Model model = random_model(odd_config());
  hashevict::Config config = KvCache::make_config(model.config(), 32, 2);
  config.max_batch_tokens = 8;
  Fixture fixture(model, config);
  const Tokens good = {1, 2, 3};
  const Values before = fixture.stream(good, 3);
  const auto refused = [&](const Tokens& tokens, const Tokens& sequences, const Tokens& cu_seqlens) {
    EXPECT_THROW(fixture.decoder.stream({tokens, sequences, cu_seqlens}, Logits::all), Error);
    EXPECT_THROW(fixture.decoder.prefill({tokens, sequences, cu_seqlens}, {}, Logits::all), Error);
  };
  refused({1, 41}, {1}, {0, 2});
  refused({1, -1}, {1}, {0, 2});
  refused({}, {}, {0});
  refused({}, {1}, {0, 0});
  refused({1, 2}, {2}, {0, 2});
  refused({1, 2}, {-1}, {0, 2});
  refused({1, 2}, {1, 1}, {0, 1, 2});
  refused({1, 2}, {0, 1}, {0, 2, 2});
  refused({1, 2}, {0, 1}, {0, 3, 2});
  refused({1, 2}, {1}, {0, 1});
  refused({1, 2}, {1}, {1, 2});
  refused({1, 2}, {1}, {0, 1, 2});
  refused({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1}, {0, 9});
  EXPECT_EQ(fixture.cache.tokens_seen(0), 3);
  EXPECT_EQ(fixture.cache.tokens_seen(1), 0);
  EXPECT_EQ(fixture.stream(good, 3, 1), before);
}

TEST(Decoder, PromptNeedsAnEmptySequence) {
  const Model model = random_model(odd_config());
  Fixture fixture(model, 32);
  const Tokens tokens = {1, 2, 3};
  const Values before = fixture.prefill(tokens);
  EXPECT_THROW(fixture.decoder.prefill(tokens, {}, Logits::all), Error);
  fixture.cache.reset(0);
  EXPECT_EQ(fixture.prefill(tokens), before);
}

TEST(Decoder, CacheOfAnotherShapeIsRefused) {
  const Model model = random_model(odd_config());
  hashevict::Config config = KvCache::make_config(model.config(), 32);
  config.num_layers = 3;
  EXPECT_THROW(Fixture(model, config), Error);
}

}  // namespace
}  // namespace hashevict::engine
