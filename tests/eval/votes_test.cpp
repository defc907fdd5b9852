// SPDX-License-Identifier: Apache-2.0
#include "eval/votes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../engine/temporary_folder.hpp"
#include "engine/embedded_model.hpp"
#include "engine/kv_cache.hpp"

namespace hashevict::eval {
namespace {

using testing::HasSubstr;

class VotesTest : public testing::Test {
 protected:
  VotesTest() : model_(engine::load_embedded_model()), threads_(1) {}

  std::string refusal(const std::vector<int64_t>& shape) {
    const auto size = static_cast<size_t>(shape[0] * shape[1] * shape[2]);
    const std::vector<float> values(size, 1.0F);
    engine::SafetensorsWriter writer;
    writer.add("layers.0.projection", shape, std::span(values));
    writer.write(folder_.path() / "votes.safetensors");
    try {
      Votes::load(folder_.path() / "votes.safetensors", model_.config());
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  Votes votes_with_shares(const std::vector<float>& shares) {
    const engine::ModelConfig& m = model_.config();
    const std::vector<float> projection(static_cast<size_t>(m.num_kv_heads * 32 * m.head_dim), 1.0F);
    const std::vector<float> center(static_cast<size_t>(m.num_kv_heads * m.head_dim));
    engine::SafetensorsWriter writer;
    for (size_t i = 0; i < shares.size(); ++i) {
      const std::string prefix = "layers." + std::to_string(i) + ".";
      writer.add(prefix + "projection", {m.num_kv_heads, 32, m.head_dim}, std::span(projection));
      writer.add(prefix + "center", {m.num_kv_heads, m.head_dim}, std::span(center));
      writer.add(prefix + "share", {1}, std::span(&shares[i], 1));
    }
    writer.write(folder_.path() / "shares.safetensors");
    return Votes::load(folder_.path() / "shares.safetensors", m);
  }

  engine::TemporaryFolder folder_;
  engine::Model model_;
  engine::ThreadPool threads_;
};

TEST_F(VotesTest, EmbeddedOnesReachTheCache) {
  const engine::ModelConfig& m = model_.config();
  const Votes votes = Votes::embedded(m);
  Config config = engine::KvCache::make_config(m, 64);
  config.apply(Preset::recall);
  ASSERT_EQ(votes.hash_bits(), config.hash_bits);
  engine::KvCache cache(config, threads_);
  votes.apply(cache.cache());
  const engine::Safetensors file = engine::embedded_votes();
  for (int32_t layer = 0; layer < m.num_layers; ++layer) {
    const auto expected = file.at("layers." + std::to_string(layer) + ".projection").f32();
    std::vector<float> projection(expected.size());
    cache.cache().get_projection(layer, Tensor{projection.data(), {m.num_kv_heads, config.hash_bits, m.head_dim}});
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), projection.begin())) << "layer " << layer;
  }
}

TEST_F(VotesTest, LayersDivideTheSlotsByTheirShares) {
  const Votes votes = votes_with_shares({0.5F, 2.0F, 0.5F});
  Config config;
  config.capacity = 100;
  votes.divide(config, 1000);
  EXPECT_EQ(config.layer_capacities, (std::vector<int32_t>{50, 200, 50}));
  votes.divide(config, 120);
  EXPECT_EQ(config.layer_capacities, (std::vector<int32_t>{90, 120, 90})) << "no more than there are tokens";
  config.capacity = 33;
  votes.divide(config, 1000);
  EXPECT_EQ(std::accumulate(config.layer_capacities.begin(), config.layer_capacities.end(), 0), 99);
  config.capacity = 1;
  votes.divide(config, 1000);
  EXPECT_EQ(config.layer_capacities.size(), 3U);
  EXPECT_LE(std::accumulate(config.layer_capacities.begin(), config.layer_capacities.end(), 0), 3);
}

TEST_F(VotesTest, SharesMustBePositive) {
  EXPECT_THROW(votes_with_shares({0.5F, 0.0F, 0.5F}), Error);
  EXPECT_THROW(votes_with_shares({0.5F, std::nanf(""), 0.5F}), Error);
}

TEST_F(VotesTest, OtherShapesAreRefusedByName) {
  const engine::ModelConfig& m = model_.config();
  EXPECT_THAT(refusal({m.num_kv_heads, 32, m.head_dim / 2}),
              HasSubstr("layers.0.projection has the shape [2, 32, 32], but the model asks for [2, 32, 64]"));
  EXPECT_THAT(refusal({m.num_kv_heads, 32, m.head_dim}), HasSubstr("layers.0.center"));
}

}  // namespace
}  // namespace hashevict::eval
