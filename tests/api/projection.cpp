// SPDX-License-Identifier: Apache-2.0
// Projections and centres: drawn, set, read back, and their effect on codes.
#include <cmath>
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr int64_t kBits = 16;
constexpr int64_t kDim = 16;
constexpr size_t kProjectionSize = kBits * kDim;

std::vector<float> projection_of(const Cache& cache, int32_t layer) {
  std::vector<float> projection(kProjectionSize, kPoison);
  cache.get_projection(layer, Tensor{projection.data(), {kBits, kDim}});
  return projection;
}

/// Codes of `tokens` random vectors per KV head.
std::vector<uint8_t> codes_of(Cache& cache, int32_t layer, int32_t sequence, uint64_t seed = 31) {
  constexpr int64_t kTokens = 50;
  const std::vector<float> x = normal_numbers(kTokens * 2 * kDim, seed);
  std::vector<uint8_t> codes(kTokens * 2 * kBits / 8, 0xEE);
  cache.encode(layer, sequence, EncodeAs::keys, Tensor{x.data(), {kTokens, 2, kDim}},
               Tensor{codes.data(), {kTokens, 2, kBits / 8}}, Stream{});
  return codes;
}

TEST(Projection, IsDrawnPerLayerAndSeed) {
  Config config = small_config();
  const Cache first{config};
  config.rule.seed = 1;
  const Cache second{config};
  EXPECT_NE(projection_of(first, 0), projection_of(first, 1));
  EXPECT_NE(projection_of(first, 0), projection_of(second, 0));
  EXPECT_EQ(projection_of(first, 0), projection_of(Cache{small_config()}, 0));
}

TEST(Projection, DependsOnNothingElse) {
  Config config = small_config();
  config.shape.num_layers = 5;
  config.shape.num_sequences = 1;
  config.shape.num_qo_heads = 3;
  config.shape.num_kv_heads = 3;
  config.shape.kv_head_offset = 6;
  config.shape.capacity = 64;
  config.shape.dtype = DType::bfloat16;
  config.rule.policy = Policy::superseded;
  EXPECT_EQ(projection_of(Cache{config}, 1), projection_of(Cache{small_config()}, 1));
}

TEST(Projection, LooksStandardNormal) {
  Config config = small_config();
  config.shape.num_layers = 40;
  const Cache cache{config};
  double sum = 0;
  double squares = 0;
  const double count = 40 * kProjectionSize;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    for (const float entry : projection_of(cache, layer)) {
      ASSERT_TRUE(std::isfinite(entry));
      sum += entry;
      squares += double{entry} * entry;
    }
  }
  EXPECT_NEAR(sum / count, 0.0, 5 / std::sqrt(count));
  EXPECT_NEAR(squares / count, 1.0, 5 * std::sqrt(2 / count));
}

TEST(Projection, IsReadBackAsItWasSet) {
  Cache cache{small_config()};
  const std::vector<float> other_layer = projection_of(cache, 0);
  const std::vector<float> projection = normal_numbers(kProjectionSize, 5);
  cache.set_projection(1, Tensor{projection.data(), {kBits, kDim}});
  EXPECT_EQ(projection_of(cache, 1), projection);
  EXPECT_EQ(projection_of(cache, 0), other_layer);
}

TEST(Projection, StridesAreHonoured) {
  Cache cache{small_config()};
  const std::vector<float> projection = normal_numbers(kProjectionSize, 5);
  std::vector<float> transposed(kProjectionSize);
  for (size_t bit = 0; bit < kBits; ++bit) {
    for (size_t e = 0; e < kDim; ++e) transposed[e * kBits + bit] = projection[bit * kDim + e];
  }
  cache.set_projection(0, Tensor{transposed.data(), {kBits, kDim}, {1, kBits}});
  EXPECT_EQ(projection_of(cache, 0), projection);
  std::vector<float> wide(2 * kProjectionSize, kPoison);
  cache.get_projection(0, Tensor{wide.data(), {kBits, kDim}, {2 * kDim, 1}});
  for (size_t bit = 0; bit < kBits; ++bit) {
    EXPECT_TRUE(std::equal(projection.begin() + static_cast<std::ptrdiff_t>(bit * kDim),
                           projection.begin() + static_cast<std::ptrdiff_t>((bit + 1) * kDim),
                           wide.begin() + static_cast<std::ptrdiff_t>(2 * bit * kDim)));
    EXPECT_EQ(wide[2 * bit * kDim + kDim], kPoison);
  }
}

TEST(Projection, PerHeadIsReadBackAsItWasSet) {
  Config config = small_config();
  config.rule.projection_per_head = true;
  Cache cache{config};
  std::vector<float> read(2 * kProjectionSize);
  cache.get_projection(0, Tensor{read.data(), {2, kBits, kDim}});
  EXPECT_FALSE(std::equal(read.begin(), read.begin() + kProjectionSize, read.begin() + kProjectionSize));
  const std::vector<float> projection = normal_numbers(2 * kProjectionSize, 5);
  cache.set_projection(0, Tensor{projection.data(), {2, kBits, kDim}});
  cache.get_projection(0, Tensor{read.data(), {2, kBits, kDim}});
  EXPECT_EQ(read, projection);
}

TEST(Projection, OfAShardIsThatOfTheWhole) {
  Config config = small_config();
  config.rule.projection_per_head = true;
  std::vector<float> whole(2 * kProjectionSize);
  Cache{config}.get_projection(1, Tensor{whole.data(), {2, kBits, kDim}});
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = 2;
  config.shape.kv_head_offset = 1;
  std::vector<float> shard(kProjectionSize);
  Cache{config}.get_projection(1, Tensor{shard.data(), {1, kBits, kDim}});
  EXPECT_TRUE(std::equal(shard.begin(), shard.end(), whole.begin() + kProjectionSize));
}

TEST(Projection, CannotBeSetOverStaleCodes) {
  Cache cache{small_config()};
  StepData data{small_config(), 1, 1};
  cache.append(data.args, Stream{});  // of layer 0 only
  const std::vector<float> before = projection_of(cache, 0);
  const std::vector<float> projection = normal_numbers(kProjectionSize, 5);
  const hashevict_tensor tensor = Tensor{projection.data(), {kBits, kDim}};
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_set_projection(cache.handle(), 0, &tensor, error); }),
      {HASHEVICT_INVALID_STATE, {"layer 0"}});
  EXPECT_EQ(projection_of(cache, 0), before);
  EXPECT_NO_THROW(cache.set_projection(1, Tensor{tensor}));
  cache.reset(Stream{});
  EXPECT_NO_THROW(cache.set_projection(0, Tensor{tensor}));
}

TEST(Projection, ThatIsNotFiniteIsRefusedByIndexAndValue) {
  using Limits = std::numeric_limits<float>;
  const auto set = [](const Cache& cache, const hashevict_tensor& tensor) {
    return outcome_of(
        [&](hashevict_error* error) { return hashevict_set_projection(cache.handle(), 0, &tensor, error); });
  };
  const Cache shared{small_config()};
  Config config = small_config();
  config.rule.projection_per_head = true;
  const Cache per_head{config};
  for (const auto& [value, text] : {std::pair{Limits::quiet_NaN(), "nan"}, std::pair{-Limits::infinity(), "-inf"}}) {
    std::vector<float> numbers = normal_numbers(2 * kProjectionSize, 5);
    const std::vector<float> before = projection_of(shared, 0);
    numbers[3 * kDim + 7] = value;
    expect_refused(set(shared, Tensor{numbers.data(), {kBits, kDim}}),
                   {HASHEVICT_INVALID_ARGUMENT, {std::string{"projection[3][7] = "} + text + ": expected a finite"}});
    EXPECT_EQ(projection_of(shared, 0), before);
    numbers[3 * kDim + 7] = 0.0F;
    numbers[kProjectionSize + kDim + 15] = value;
    expect_refused(set(per_head, Tensor{numbers.data(), {2, kBits, kDim}}),
                   {HASHEVICT_INVALID_ARGUMENT, {std::string{"projection[1][1][15] = "} + text}});
  }
  std::vector<float> largest(kProjectionSize, Limits::max());
  EXPECT_EQ(set(shared, Tensor{largest.data(), {kBits, kDim}}).status, HASHEVICT_OK);
}

TEST(SetCenter, OfWhatIsNotFiniteIsRefusedByIndexAndValue) {
  Config config = small_config();
  config.rule.centering = Centering::fixed;
  const Cache cache{config};
  std::vector<float> key = normal_numbers(2 * kDim, 5);
  std::vector<float> query = normal_numbers(4 * kDim, 6);
  const auto set = [&] {
    const hashevict_tensor keys = Tensor{key.data(), {2, kDim}};
    const hashevict_tensor queries = Tensor{query.data(), {4, kDim}};
    return outcome_of(
        [&](hashevict_error* error) { return hashevict_set_center(cache.handle(), 0, 1, &keys, &queries, error); });
  };
  query[3 * kDim] = std::numeric_limits<float>::infinity();
  expect_refused(set(), {HASHEVICT_INVALID_ARGUMENT, {"query_center[3][0] = inf: expected a finite number"}});
  key[kDim + 2] = std::numeric_limits<float>::quiet_NaN();
  expect_refused(set(), {HASHEVICT_INVALID_ARGUMENT, {"key_center[1][2] = nan: expected a finite number"}});
  key[kDim + 2] = query[3 * kDim] = 0.0F;
  EXPECT_EQ(set().status, HASHEVICT_OK);
}

TEST(Projection, DecidesTheCodes) {
  Cache cache{small_config()};
  std::vector<float> projection(kProjectionSize, 0.0F);  // bit i reads element i, with alternating signs
  for (size_t i = 0; i < kBits; ++i) projection[i * kDim + i] = i % 2 == 0 ? 1.0F : -1.0F;
  cache.set_projection(0, Tensor{projection.data(), {kBits, kDim}});
  std::vector<float> x(2 * kDim, 1.0F);
  x[kDim] = std::numeric_limits<float>::quiet_NaN();  // head 1: every sum is NaN, so every bit is 0
  std::array<uint8_t, 4> codes{};
  cache.encode(0, 0, EncodeAs::keys, Tensor{x.data(), {1, 2, kDim}}, Tensor{codes.data(), {1, 2, 2}}, Stream{});
  EXPECT_THAT(codes, ::testing::ElementsAre(0x55, 0x55, 0, 0));
}

TEST(Encode, QueriesAndKeysShareTheProjectionOfTheirHead) {
  Cache cache{small_config()};
  const std::vector<float> x = normal_numbers(4 * kDim, 3);
  std::array<uint8_t, 8> of_queries{};
  std::array<uint8_t, 4> of_keys{};
  cache.encode(1, 0, EncodeAs::queries, Tensor{x.data(), {1, 4, kDim}}, Tensor{of_queries.data(), {1, 4, 2}}, Stream{});
  cache.encode(1, 0, EncodeAs::keys, Tensor{x.data(), {1, 2, kDim}}, Tensor{of_keys.data(), {1, 2, 2}}, Stream{});
  EXPECT_TRUE(std::equal(of_keys.begin(), of_keys.end(), of_queries.begin()));
}

TEST(Encode, ChangesNoState) {
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  (void)codes_of(cache, 0, 0);
  EXPECT_EQ(save_all(cache), before);
}

TEST(Encode, OutputStridesAreHonoured) {
  Cache cache{small_config()};
  const std::vector<float> x = normal_numbers(3 * 2 * kDim, 3);
  std::array<uint8_t, 12> dense{};
  std::vector<uint8_t> wide(3 * 2 * 5, 0xAB);
  cache.encode(0, 0, EncodeAs::keys, Tensor{x.data(), {3, 2, kDim}}, Tensor{dense.data(), {3, 2, 2}}, Stream{});
  cache.encode(0, 0, EncodeAs::keys, Tensor{x.data(), {3, 2, kDim}}, Tensor{wide.data(), {3, 2, 2}, {10, 5, 1}},
               Stream{});
  for (size_t row = 0; row < 6; ++row) {
    EXPECT_EQ(wide[5 * row], dense[2 * row]);
    EXPECT_EQ(wide[5 * row + 1], dense[2 * row + 1]);
    EXPECT_THAT(std::vector<uint8_t>(&wide[5 * row + 2], &wide[5 * row + 4] + 1), ::testing::Each(0xAB));
  }
}

class Center : public ::testing::Test {
 protected:
  static Config centered(Centering centering) {
    Config config = small_config();
    config.rule.centering = centering;
    return config;
  }

  hashevict_status set(Cache& cache, int32_t layer, int32_t sequence, hashevict_error* error) const {
    return hashevict_set_center(cache.handle(), layer, sequence, &key_center_, &query_center_, error);
  }
  void expect_refusal(Cache& cache, const Refusal& refusal, int32_t layer = 0, int32_t sequence = 0) const {
    const std::vector<std::byte> before = save_all(cache);
    expect_refused(outcome_of([&](hashevict_error* error) { return set(cache, layer, sequence, error); }), refusal);
    EXPECT_EQ(save_all(cache), before);
  }

  std::vector<float> keys_ = normal_numbers(2 * kDim, 70);
  std::vector<float> queries_ = normal_numbers(4 * kDim, 71);
  hashevict_tensor key_center_ = Tensor{keys_.data(), {2, kDim}};
  hashevict_tensor query_center_ = Tensor{queries_.data(), {4, kDim}};
};

TEST_F(Center, IsSubtractedBeforeHashing) {
  Cache centered{this->centered(Centering::fixed)};
  Cache plain{small_config()};
  EXPECT_EQ(codes_of(centered, 0, 1), codes_of(plain, 0, 1)) << "the centre is zero until it is set";
  centered.set_center(0, 1, Tensor{key_center_}, Tensor{query_center_});
  EXPECT_NE(codes_of(centered, 0, 1), codes_of(plain, 0, 1));
  EXPECT_EQ(codes_of(centered, 0, 0), codes_of(plain, 0, 0)) << "other sequences keep theirs";
  EXPECT_EQ(codes_of(centered, 1, 1), codes_of(plain, 1, 1)) << "other layers keep theirs";
  // x + center under the centre is x, up to rounding: choose numbers for which it is exact.
  std::vector<float> x(4 * kDim);
  for (size_t i = 0; i < queries_.size(); ++i) x[i] = 2 * queries_[i];
  std::array<uint8_t, 8> with{};
  std::array<uint8_t, 8> without{};
  centered.encode(0, 1, EncodeAs::queries, Tensor{x.data(), {1, 4, kDim}}, Tensor{with.data(), {1, 4, 2}}, Stream{});
  plain.encode(0, 1, EncodeAs::queries, Tensor{queries_.data(), {1, 4, kDim}}, Tensor{without.data(), {1, 4, 2}},
               Stream{});
  EXPECT_EQ(with, without);
}

TEST_F(Center, IsForgottenByReset) {
  Cache cache{centered(Centering::fixed)};
  const std::vector<uint8_t> before = codes_of(cache, 0, 1);
  cache.set_center(0, 1, Tensor{key_center_}, Tensor{query_center_});
  cache.reset(1, Stream{});
  EXPECT_EQ(codes_of(cache, 0, 1), before);
}

TEST_F(Center, OfThePromptIsItsMean) {
  Cache cache{centered(Centering::prompt)};
  StepData prompt{small_config(), 16, 3};
  prompt.set_rows({16});
  cache.prefill(prompt.args, Stream{});
  Cache fixed{centered(Centering::fixed)};
  std::vector<float> means(2 * kDim);
  for (size_t i = 0; i < means.size(); ++i) {
    for (size_t token = 0; token < 16; ++token) means[i] += prompt.k[token * means.size() + i];
    means[i] /= 16.0F;
  }
  fixed.set_center(0, 0, Tensor{means.data(), {2, kDim}}, Tensor{query_center_});
  EXPECT_EQ(codes_of(cache, 0, 0), codes_of(fixed, 0, 0));
}

TEST_F(Center, SecondPromptChunkIsRefusedUnlessACentreWasGiven) {
  Cache cache{centered(Centering::prompt)};
  StepData chunk{small_config(), 5, 3};
  chunk.set_rows({5});
  cache.prefill(chunk.args, Stream{});
  const std::vector<std::byte> before = save_all(cache);
  const AnyArgs args = chunk.args;
  expect_refused(outcome_of([&](hashevict_error* error) { return any_prefill(cache.handle(), &args, error, nullptr); }),
                 {HASHEVICT_INVALID_STATE, {"sequence 0"}});
  EXPECT_EQ(save_all(cache), before);
  cache.reset(Stream{});
  cache.set_center(0, 0, Tensor{key_center_}, Tensor{query_center_});
  EXPECT_NO_THROW(cache.prefill(chunk.args, Stream{}));
  EXPECT_NO_THROW(cache.prefill(chunk.args, Stream{}));
}

TEST_F(Center, BadArgumentsAreRefused) {
  constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;
  Cache cache{centered(Centering::fixed)};
  expect_refusal(cache, {kInvalid, {"layer", "-1", "0 to 1"}}, -1);
  expect_refusal(cache, {kInvalid, {"layer", "= 2", "0 to 1"}}, 2);
  expect_refusal(cache, {kInvalid, {"sequence", "-1", "0 to 2"}}, 0, -1);
  expect_refusal(cache, {kInvalid, {"sequence", "= 3", "0 to 2"}}, 0, 3);
  const hashevict_tensor good_keys = key_center_;
  const hashevict_tensor good_queries = query_center_;
  key_center_.data = nullptr;
  expect_refusal(cache, {kInvalid, {"key_center", "NULL"}});
  key_center_ = good_queries;
  expect_refusal(cache, {kInvalid, {"key_center.shape[0]", "= 4", "expected 2"}});
  key_center_ = good_keys;
  query_center_ = good_keys;
  expect_refusal(cache, {kInvalid, {"query_center.shape[0]", "= 2", "expected 4"}});
  query_center_ = good_queries;
  query_center_.rank = 3;
  expect_refusal(cache, {kInvalid, {"query_center.rank", "= 3", "expected 2"}});
  query_center_ = good_queries;
  query_center_.dtype = HASHEVICT_BFLOAT16;
  expect_refusal(cache, {kInvalid, {"query_center.dtype", "= 2"}});
}

TEST_F(Center, NullTensorsAreRefused) {
  Cache cache{centered(Centering::fixed)};
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_set_center(cache.handle(), 0, 0, nullptr, &query_center_, error);
                 }),
                 {HASHEVICT_INVALID_ARGUMENT, {"key_center", "NULL"}});
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_set_center(cache.handle(), 0, 0, &key_center_, nullptr, error);
                 }),
                 {HASHEVICT_INVALID_ARGUMENT, {"query_center", "NULL"}});
}

TEST_F(Center, CannotBeSetOverStaleCodes) {
  Cache cache{centered(Centering::fixed)};
  feed(cache, 1, 1, 2);
  expect_refusal(cache, {HASHEVICT_INVALID_STATE, {"sequence 1"}}, 0, 1);
  EXPECT_NO_THROW(cache.set_center(0, 0, Tensor{key_center_}, Tensor{query_center_}));
}

TEST_F(Center, CannotBeSetWithoutCentering) {
  Cache cache{small_config()};
  const Outcome outcome = outcome_of([&](hashevict_error* error) { return set(cache, 0, 0, error); });
  EXPECT_NE(outcome.status, HASHEVICT_OK);
  EXPECT_THAT(outcome.message, ::testing::HasSubstr("centering"));
}

}  // namespace
}  // namespace hashevict::test
