// SPDX-License-Identifier: Apache-2.0
#include "engine/decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/safetensors.hpp"
#include "engine/sampler.hpp"
#include "reference_llama.hpp"
#include "refusal.hpp"

namespace hashevict::engine {
namespace {

using Tokens = std::vector<std::int32_t>;
using Values = std::vector<float>;

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

template <class Values>
double largest_of(const Values& values) {
  return std::abs(static_cast<double>(std::ranges::max(values, {}, [](auto x) { return std::abs(x); })));
}

// Every layer adds rounding errors of 2^-24 of the activations that it sums. The bound allows a few dozen of them,
// relative to the largest logit. A wrong frequency, head or weight changes the first digit.
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
  const double largest = largest_of(expected);
  ASSERT_GT(largest, 1);
  Engine engine(model, 512);
  EXPECT_LT(largest_difference(engine.prefill(tokens), expected), tolerance(largest));
  engine.cache.reset();
  EXPECT_LT(largest_difference(engine.stream(tokens, 7), expected), tolerance(largest));
}

class DecoderOfType : public testing::TestWithParam<ElementType> {};

TEST_P(DecoderOfType, LogitsAreThoseOfPlainLoops) {
  const RandomCheckpoint checkpoint(odd_config(), GetParam(), 5);
  const Model model(odd_config(), checkpoint.table());
  const Tokens tokens = random_tokens(odd_config(), 130);
  const std::vector<double> expected = reference_logits(odd_config(), checkpoint, tokens);
  const double largest = largest_of(expected);
  Engine engine(model, 256);
  EXPECT_LT(largest_difference(engine.prefill(tokens), expected), tolerance(largest));
  engine.cache.reset();
  EXPECT_LT(largest_difference(engine.stream(tokens, 11), expected), tolerance(largest));
}

INSTANTIATE_TEST_SUITE_P(Types, DecoderOfType, testing::Values(ElementType::f32, ElementType::f16, ElementType::bf16),
                         [](const auto& instance) { return std::string(element_name(instance.param)); });

TEST(Decoder, LongPromptCrossesBlocksRightly) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 700);
  Engine engine(model, 1024);
  const Values prefilled = engine.prefill(tokens);
  engine.cache.reset();
  EXPECT_LT(largest_difference(engine.stream(tokens, 64), prefilled), tolerance(largest_of(prefilled)));
}

TEST(Decoder, BatchedStreamIsTokenByTokenUpToRounding) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 150);
  const Values single = Engine(model, 256).stream(tokens, 1);
  for (const std::size_t batch : {2U, 7U, 64U, 150U}) {
    EXPECT_LT(largest_difference(Engine(model, 256).stream(tokens, batch), single), tolerance(largest_of(single)));
  }
}

// The mean loss of a text, in nats a token. Rounding may change a victim and with it single logits; not the loss.
double loss(const Model& model, const hashevict::Config& config, std::span<const std::int32_t> tokens,
            std::size_t batch) {
  const Values logits = Engine(model, config).stream(tokens, batch);
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  double sum = 0;
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    sum += negative_log_likelihood(std::span(logits).subspan(t * vocab, vocab), tokens[t + 1]);
  }
  return sum / static_cast<double>(tokens.size() - 1);
}

TEST(Decoder, BatchedStreamOfABoundedCacheLosesWhatSingleTokensLose) {
  const std::filesystem::path folder = std::filesystem::path(HASHEVICT_ASSETS) / "tiny-llama";
  const Model model = Model::load(folder);
  const Safetensors golden = Safetensors::open(folder / "golden.safetensors");
  const std::span<const std::int32_t> given = golden.at("tokens").i32();
  const Tokens tokens(given.begin(), given.end());
  for (const Policy policy : {Policy::hash, Policy::superseded}) {
    hashevict::Config config = KvCache::make_config(model.config(), static_cast<std::int32_t>(tokens.size() / 3));
    config.rule.policy = policy;
    const double single = loss(model, config, tokens, 1);
    for (const std::size_t batch : {7U, 64U}) EXPECT_NEAR(loss(model, config, tokens, batch), single, 2e-3);
  }
}

TEST(Decoder, CapacityThatHoldsAllIsThePlainCacheBitForBit) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 150);
  const Values plain = Engine(model, 4096).stream(tokens, 32);
  for (const Policy policy : {Policy::hash, Policy::window, Policy::superseded}) {
    hashevict::Config config = KvCache::make_config(model.config(), 150);
    config.rule.policy = policy;
    EXPECT_EQ(Engine(model, config).stream(tokens, 32), plain);
  }
  EXPECT_NE(Engine(model, 149).stream(tokens, 32), plain);
}

TEST(Decoder, LastLogitsAreTheLastOfAll) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 30);
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  const Values all = Engine(model, 64).stream(tokens, 30);
  Engine engine(model, 64);
  const std::span<const float> last = engine.decoder.stream(tokens, Logits::last);
  EXPECT_EQ(Values(last.begin(), last.end()), Values(all.end() - static_cast<std::ptrdiff_t>(vocab), all.end()));
  engine.cache.reset();
  EXPECT_TRUE(engine.decoder.stream(tokens, Logits::none).empty());
}

TEST(Decoder, PromptContinuesByDecoding) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 100);
  const Values streamed = Engine(model, 128).stream(tokens, 100);
  Engine engine(model, 128);
  Values mixed = engine.prefill(std::span(tokens).first(70));
  const Values rest = engine.stream(std::span(tokens).subspan(70), 1);
  mixed.insert(mixed.end(), rest.begin(), rest.end());
  EXPECT_LT(largest_difference(mixed, streamed), 1e-3);
}

TEST(Decoder, BadBatchIsRefusedAndChangesNothing) {
  const Model model = random_model(odd_config());
  hashevict::Config config = KvCache::make_config(model.config(), 32);
  config.execution.max_batch_tokens = 8;
  Engine engine(model, config);
  const std::pair<Tokens, const char*> batches[] = {
      {{1, 41}, "tokens: 41 is not below vocab_size = 41"},
      {{1, -1}, "tokens: -1 is not below vocab_size = 41"},
      {{}, "tokens: expected one or more"},
      {{1, 2, 3, 4, 5, 6, 7, 8, 9}, "tokens: 9 exceed the cache's max_batch_tokens, 8"}};
  for (const auto& [batch, message] : batches) {
    const Tokens& tokens = batch;
    const auto status = Status::invalid_argument;
    EXPECT_EQ(refusal([&] { engine.decoder.stream(tokens, Logits::all); }, status), message);
    EXPECT_EQ(refusal([&] { engine.decoder.prefill(tokens, {}, Logits::all); }, status), message);
  }
  EXPECT_EQ(engine.cache.tokens_seen(), 0);
  EXPECT_EQ(engine.stream(Tokens{1, 2, 3}, 3), Engine(model, 32).stream(Tokens{1, 2, 3}, 3));
}

TEST(Decoder, PromptNeedsAnEmptySequence) {
  const Model model = random_model(odd_config());
  Engine engine(model, 32);
  const Tokens tokens = {1, 2, 3};
  const Values before = engine.prefill(tokens);
  EXPECT_EQ(refusal([&] { engine.prefill(tokens); }, Status::invalid_argument),
            "cache: holds tokens, a prompt needs an empty one");
  engine.cache.reset();
  EXPECT_EQ(engine.prefill(tokens), before);
}

TEST(Decoder, CacheOfAnotherShapeIsRefused) {
  const Model model = random_model(odd_config());
  hashevict::Config config = KvCache::make_config(model.config(), 32);
  config.shape.num_layers = 3;
  EXPECT_EQ(refusal([&] { Engine(model, config); }, Status::invalid_argument),
            "cache: its layers and heads are not the model's");
}

}  // namespace
}  // namespace hashevict::engine
