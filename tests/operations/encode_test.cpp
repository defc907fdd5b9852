// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "reference/code.hpp"
#include "support/backend_test.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Encode);

using Codes = std::vector<std::byte>;

/// The library's codes of `x`.
Codes encode(TestCache& cache, EncodeAs as, const std::vector<float>& x, DType dtype = DType::float32,
             int32_t sequence = 0) {
  const Config& config = cache.config();
  const int64_t heads = as == EncodeAs::keys ? config.shape.num_kv_heads : config.shape.num_qo_heads;
  const auto tokens = static_cast<int64_t>(x.size()) / (heads * config.shape.head_dim);
  const Array input{cache.backend(), dtype, {tokens, heads, config.shape.head_dim}, x};
  const Array codes{cache.backend(), DType::uint8, {tokens, heads, config.rule.hash_bits / 8}};
  cache.cache().encode(0, sequence, as, input.tensor(), codes.tensor(), Stream{});
  return codes.bytes();
}

/// The oracle's codes; its heads have projections and centres.
Codes expected(const reference::Sequence& oracle, EncodeAs as, const std::vector<float>& x) {
  const reference::Settings& settings = oracle.settings();
  const bool keys = as == EncodeAs::keys;
  const std::size_t heads = keys ? settings.num_kv_heads : settings.num_qo_heads;
  const std::size_t group = settings.group_size();
  Codes codes;
  for (std::size_t i = 0; i < x.size() / settings.head_dim; ++i) {
    const std::size_t h = i % heads;
    const reference::Head& head = oracle.heads()[keys ? h : h / group];
    const reference::Vector& center = keys ? head.key_center : head.query_centers[h % group];
    for (const uint8_t byte : reference::encode(head.projection, reference::row(x, i, settings.head_dim), center)) {
      codes.push_back(std::byte{byte});
    }
  }
  return codes;
}

std::size_t elements(const Config& config, int tokens, int32_t heads) {
  return static_cast<std::size_t>(tokens * heads * config.shape.head_dim);
}

TEST_P(Encode, EveryWidthAndHeadSizeGivesTheOraclesCodes) {
  for (const int32_t bits : {8, 16, 32, 64, 128}) {
    for (const int32_t dim : {8, 24, 64, 80, 96, 112, 128, 160, 192, 256}) {
      SCOPED_TRACE(testing::Message() << "hash_bits " << bits << ", head_dim " << dim << ", seed 1");
      Config config = small_config();
      config.rule.hash_bits = bits;
      config.shape.head_dim = dim;
      Twins twins{GetParam(), config};
      const auto x = Inputs{1}.floats(elements(config, 5, config.shape.num_kv_heads));
      EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x), expected(twins.oracle(0, 0), EncodeAs::keys, x));
    }
  }
}

TEST_P(Encode, AnyNumberOfTokensGivesTheOraclesCodes) {
  Twins twins{GetParam(), small_config()};
  for (const int tokens : {1, 2, 3, 7, 8, 9, 31, 64, 65, 200}) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens, seed 2");
    const auto x = Inputs{2}.floats(elements(small_config(), tokens, 2));
    EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x), expected(twins.oracle(0, 0), EncodeAs::keys, x));
  }
}

TEST_P(Encode, QueriesUseTheProjectionOfTheirKvHead) {
  SCOPED_TRACE("seed 3");
  Config config = small_config();
  config.rule.projection_per_head = true;
  Twins twins{GetParam(), config};
  const auto x = Inputs{3}.floats(elements(config, 20, config.shape.num_qo_heads));
  EXPECT_EQ(encode(twins.cache, EncodeAs::queries, x), expected(twins.oracle(0, 0), EncodeAs::queries, x));
}

TEST_P(Encode, NarrowInputsAreWidenedExactly) {
  for (const DType dtype : kHalves) {
    SCOPED_TRACE(testing::Message() << "dtype " << static_cast<int>(dtype) << ", seed 4");
    Config config = small_config();
    config.rule.hash_bits = 128;
    Twins twins{GetParam(), config};
    const auto x = Inputs{4}.floats(elements(config, 20, config.shape.num_kv_heads), dtype);
    EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x, dtype), expected(twins.oracle(0, 0), EncodeAs::keys, x));
  }
}

TEST_P(Encode, OneNaNGivesZeroInEveryBit) {
  TestCache cache{GetParam(), small_config()};
  std::vector<float> x(elements(small_config(), 1, 2), 1.0F);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  const Codes codes = encode(cache, EncodeAs::keys, x);
  EXPECT_EQ((Codes{codes[0], codes[1]}), (Codes{std::byte{0}, std::byte{0}}));
}

TEST_P(Encode, NegativeZerosGiveOneInEveryBit) {
  TestCache cache{GetParam(), small_config()};
  const std::vector<float> x(elements(small_config(), 3, 2), -0.0F);
  EXPECT_EQ(encode(cache, EncodeAs::keys, x), Codes(12, std::byte{0xFF}));
}

TEST_P(Encode, SpecialNumbersGiveTheOraclesCodes) {
  SCOPED_TRACE("seed 5");
  Config config = small_config();
  config.rule.hash_bits = 64;
  Twins twins{GetParam(), config};
  const auto x = Inputs{5}.draw(config, 60, DType::float32, Flavour::special).k;
  EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x), expected(twins.oracle(0, 0), EncodeAs::keys, x));
}

TEST_P(Encode, TheCenterOfTheSequenceIsSubtractedFirst) {
  SCOPED_TRACE("seed 6");
  Config config = small_config();
  config.rule.centering = Centering::fixed;
  Twins twins{GetParam(), config};
  Inputs inputs{6};
  const auto key_center = inputs.floats(elements(config, 1, config.shape.num_kv_heads));
  const auto query_center = inputs.floats(elements(config, 1, config.shape.num_qo_heads));
  twins.cache.cache().set_center(0, 1, Tensor{key_center.data(), {config.shape.num_kv_heads, config.shape.head_dim}},
                                 Tensor{query_center.data(), {config.shape.num_qo_heads, config.shape.head_dim}});
  twins.oracle(0, 1).set_center(key_center, query_center);
  for (const int32_t sequence : {0, 1}) {  // the other sequence's centre is still zero
    for (const EncodeAs as : {EncodeAs::keys, EncodeAs::queries}) {
      const int32_t heads = as == EncodeAs::keys ? config.shape.num_kv_heads : config.shape.num_qo_heads;
      const auto x = inputs.floats(elements(config, 25, heads));
      EXPECT_EQ(encode(twins.cache, as, x, DType::float32, sequence), expected(twins.oracle(0, sequence), as, x));
    }
  }
}

TEST_P(Encode, OrthogonalRowsGiveTheOraclesCodes) {
  SCOPED_TRACE("seed 7");
  Config config = small_config();
  config.rule.projection_kind = ProjectionKind::orthogonal;
  config.rule.hash_bits = 64;  // four blocks of 16 rows
  Twins twins{GetParam(), config};
  const auto x = Inputs{7}.floats(elements(config, 40, config.shape.num_kv_heads));
  EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x), expected(twins.oracle(0, 0), EncodeAs::keys, x));
}

/// Converts `[hash_bits, head_dim]` to the oracle's rows.
reference::Projection rows(const std::vector<float>& matrix, std::size_t first, const Config& config) {
  reference::Projection projection;
  for (std::size_t i = 0; i < static_cast<std::size_t>(config.rule.hash_bits); ++i) {
    projection.push_back(reference::row(matrix, first + i, static_cast<std::size_t>(config.shape.head_dim)));
  }
  return projection;
}

/// Rows whose products with `x` nearly cancel, so that the defined roundings alone decide the bits.
reference::Projection nearly_orthogonal_to(const reference::Vector& x, std::size_t hash_bits, Inputs& inputs) {
  reference::Projection projection;
  for (std::size_t i = 0; i < hash_bits; ++i) {
    reference::Vector row = inputs.floats(x.size());
    float sum = 0.0F;
    for (std::size_t e = 0; e + 1 < x.size(); ++e) sum = std::fma(row[e], x[e], sum);
    row.back() = -sum / x.back();
    projection.push_back(row);
  }
  return projection;
}

TEST_P(Encode, SumsNearZeroAreRoundedAsDefined) {
  for (const int32_t bits : {8, 16, 32, 64, 128}) {
    for (const int32_t dim : {8, 24, 64, 128}) {
      SCOPED_TRACE(testing::Message() << "hash_bits " << bits << ", head_dim " << dim << ", seed 12");
      Config config = small_config();
      config.rule.hash_bits = bits;
      config.shape.head_dim = dim;
      config.shape.num_kv_heads = 1;
      Twins twins{GetParam(), config};
      Inputs inputs{12};
      const auto x = inputs.floats(static_cast<std::size_t>(dim));
      const auto projection = nearly_orthogonal_to(x, static_cast<std::size_t>(bits), inputs);
      std::vector<float> matrix;
      for (const auto& row : projection) matrix.insert(matrix.end(), row.begin(), row.end());
      twins.cache.cache().set_projection(0, Tensor{matrix.data(), {bits, dim}});
      twins.oracle(0, 0).set_projection(0, projection);
      std::vector<float> tokens;
      for (const float factor : {1.0F, -1.0F, 3.0F, -0.7F, 1.1F}) {
        for (const float element : x) tokens.push_back(factor * element);
      }
      EXPECT_EQ(encode(twins.cache, EncodeAs::keys, tokens), expected(twins.oracle(0, 0), EncodeAs::keys, tokens));
    }
  }
}

TEST_P(Encode, TheCallersProjectionIsUsedByAllHeads) {
  SCOPED_TRACE("seed 8");
  const Config config = small_config();
  Twins twins{GetParam(), config};
  Inputs inputs{8};
  const auto matrix = inputs.floats(static_cast<std::size_t>(config.rule.hash_bits * config.shape.head_dim));
  twins.cache.cache().set_projection(0, Tensor{matrix.data(), {config.rule.hash_bits, config.shape.head_dim}});
  for (std::size_t h = 0; h < 2; ++h) twins.oracle(0, 0).set_projection(h, rows(matrix, 0, config));
  const auto x = inputs.floats(elements(config, 25, config.shape.num_kv_heads));
  EXPECT_EQ(encode(twins.cache, EncodeAs::keys, x), expected(twins.oracle(0, 0), EncodeAs::keys, x));
}

TEST_P(Encode, TheCallersProjectionsPerHeadAreUsed) {
  SCOPED_TRACE("seed 9");
  Config config = small_config();
  config.rule.projection_per_head = true;
  Twins twins{GetParam(), config};
  Inputs inputs{9};
  const auto matrix = inputs.floats(elements(config, config.rule.hash_bits, config.shape.num_kv_heads));
  twins.cache.cache().set_projection(
      0, Tensor{matrix.data(), {config.shape.num_kv_heads, config.rule.hash_bits, config.shape.head_dim}});
  for (std::size_t h = 0; h < 2; ++h) twins.oracle(0, 0).set_projection(h, rows(matrix, h * 16, config));
  const auto x = inputs.floats(elements(config, 25, config.shape.num_qo_heads));
  EXPECT_EQ(encode(twins.cache, EncodeAs::queries, x), expected(twins.oracle(0, 0), EncodeAs::queries, x));
}

TEST_P(Encode, StridedInputsAndCodesAreAddressedByTheirStrides) {
  SCOPED_TRACE("seed 10");
  const Config config = small_config();
  Twins twins{GetParam(), config};
  const auto x = Inputs{10}.floats(elements(config, 6, 3));  // three heads per token, of which the last two are hashed
  const Array input{GetParam(), DType::float32, {6, 3, 16}, x};
  const Array codes{GetParam(), DType::uint8, {6, 5, 2}};
  const Tensor last_two{input.tensor().data_as<float>() + 16, {6, 2, 16}, {48, 16, 1}};
  const Tensor target{codes.tensor().data_as<uint8_t>() + 2, {6, 2, 2}, {10, 4, 1}};
  twins.cache.cache().encode(0, 0, EncodeAs::keys, last_two, target, Stream{});

  std::vector<float> dense;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 48 >= 16) dense.push_back(x[i]);
  }
  EXPECT_EQ(read(GetParam(), target), expected(twins.oracle(0, 0), EncodeAs::keys, dense));
  const Codes all = codes.bytes();
  for (const std::size_t gap : std::vector<std::size_t>{0, 1, 4, 5, 8, 9})
    EXPECT_EQ(all[gap], std::byte{0xA5}) << "byte " << gap;
}

TEST_P(Encode, NothingOfTheStateChanges) {
  SCOPED_TRACE("seed 11");
  const Config config = small_config();
  TestCache cache{GetParam(), config};
  Inputs inputs{11};
  cache.run(Operation::append, {{0, inputs.draw(config, 30)}});
  const State before = cache.state(0, 0);
  encode(cache, EncodeAs::keys, inputs.floats(elements(config, 9, config.shape.num_kv_heads)));
  expect_same(cache.state(0, 0), before);
}

}  // namespace
}  // namespace hashevict::test
