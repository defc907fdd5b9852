// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.hpp"

#include <gtest/gtest.h>

#include "engine/tokenizer.hpp"
#include "random_model.hpp"

namespace hashevict::engine {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens generate_fresh(const Model& model, const Tokens& prompt, const GenerateOptions& options,
                      std::int32_t capacity = 64) {
  Engine engine(model, capacity);
  return generate(engine.decoder, prompt, options);
}

TEST(Generate, GreedyFollowsTheMostLikely) {
  const Model model = random_model(odd_config());
  const Tokens prompt = random_tokens(odd_config(), 20);
  const Tokens generated = generate_fresh(model, prompt, {.max_new_tokens = 15});
  ASSERT_EQ(generated.size(), 15U);
  Tokens all = prompt;
  all.insert(all.end(), generated.begin(), generated.end());
  const std::vector<float> logits = Engine(model, 64).stream(all, all.size());
  for (std::size_t i = 0; i < generated.size(); ++i) {
    EXPECT_EQ(greedy(std::span(logits).subspan((prompt.size() - 1 + i) * 41, 41)), generated[i]) << i;
  }
}

TEST(Generate, SeedDecidesTheSample) {
  const Model model = random_model(odd_config());
  const Tokens prompt = random_tokens(odd_config(), 20);
  const auto with_seed = [&](std::uint64_t seed) {
    return generate_fresh(model, prompt, {.max_new_tokens = 40, .sampling = {.temperature = 1, .seed = seed}}, 32);
  };
  EXPECT_EQ(with_seed(1), with_seed(1));
  EXPECT_NE(with_seed(1), with_seed(2));
}

TEST(Generate, StopTokenEndsTheResult) {
  const Model model = random_model(odd_config());
  const Tokens prompt = random_tokens(odd_config(), 20);
  const GenerateOptions sampled = {.max_new_tokens = 30, .sampling = {.temperature = 1, .seed = 3}};
  const Tokens full = generate_fresh(model, prompt, sampled);
  GenerateOptions stopped = sampled;
  stopped.stop_tokens = {full[10]};
  Tokens seen;
  stopped.on_token = [&](std::int32_t token) { seen.push_back(token); };
  const Tokens result = generate_fresh(model, prompt, stopped);
  ASSERT_FALSE(result.empty());
  EXPECT_LE(result.size(), 11U);
  EXPECT_EQ(result.back(), full[10]);
  EXPECT_EQ(result, Tokens(full.begin(), full.begin() + static_cast<std::ptrdiff_t>(result.size())));
  EXPECT_EQ(seen, result);
}

TEST(Generate, PromptThatFitsIsContinuedAlikeByPrefillAndStream) {
  const Model model = random_model(odd_config());
  const Tokens prompt = random_tokens(odd_config(), 300);  // more than one batch of streaming
  const Tokens streamed = generate_fresh(model, prompt, {.max_new_tokens = 10}, 400);
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    GenerateOptions options = {.max_new_tokens = 10};
    options.prefill = PrefillOptions{.mode = mode};
    EXPECT_EQ(generate_fresh(model, prompt, options, 400), streamed);
  }
}

TEST(Generate, EmptyPromptIsRefused) {
  const Model model = random_model(odd_config());
  EXPECT_THROW(generate_fresh(model, {}, {}), Error);
  EXPECT_THROW(generate_fresh(model, {41}, {}), Error);
}

TEST(NatsPerToken, AreThoseOfTheLogits) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 400);
  Engine engine(model, 400);
  const std::vector<float> nats = nats_per_token(engine.decoder, tokens);
  ASSERT_EQ(nats.size(), 399U);
  engine.cache.reset();
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    const std::span<const float> logits = engine.decoder.stream(std::span(tokens).subspan(t, 1), Logits::last);
    ASSERT_NEAR(nats[t], negative_log_likelihood(logits, tokens[t + 1]), 1e-4) << t;
  }
}

TEST(ByteTokenizer, ModelThatIsNotByteLevelIsRefused) {
  ModelConfig config = odd_config();
  for (const std::int32_t vocab_size : {256, 257, 264, 320, 512}) {
    config.vocab_size = vocab_size;
    EXPECT_NO_THROW(ByteTokenizer::require_fits(config)) << vocab_size;
  }
  for (const std::int32_t vocab_size : {41, 255, 513, 1000, 32000}) {
    config.vocab_size = vocab_size;
    EXPECT_THROW(ByteTokenizer::require_fits(config), Error) << vocab_size;
  }
  config.vocab_size = 264;
  config.bos_token = 264;
  EXPECT_THROW(ByteTokenizer::require_fits(config), Error);
}

TEST(ByteTokenizer, BytesGoThereAndBack) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const Tokens tokens = ByteTokenizer::encode(text);
  ASSERT_EQ(tokens.size(), 256U);
  EXPECT_EQ(tokens[200], 200);
  EXPECT_EQ(ByteTokenizer::decode(tokens), text);
  EXPECT_EQ(ByteTokenizer::decode(Tokens{256, 'a', 263, 'b', -1}), "ab");
}

}  // namespace
}  // namespace hashevict::engine
