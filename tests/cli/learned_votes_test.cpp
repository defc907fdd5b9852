// SPDX-License-Identifier: Apache-2.0
#include "cli/votes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "../engine/refusal.hpp"
#include "../engine/temporary_folder.hpp"
#include "engine/embedded_model.hpp"
#include "engine/kv_cache.hpp"

namespace hashevict::cli {
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
    return engine::refusal([&] { Votes::load(folder_.path() / "votes.safetensors", model_.config()); });
  }

  Votes votes_with(const std::vector<float>& shares, const std::vector<float>& reaches) {
    const engine::ModelConfig& m = model_.config();
    const std::vector<float> projection(static_cast<size_t>(m.num_kv_heads * 32 * m.head_dim), 1.0F);
    const std::vector<float> center(static_cast<size_t>(m.num_kv_heads * m.head_dim));
    engine::SafetensorsWriter writer;
    for (size_t i = 0; i < shares.size(); ++i) {
      const std::string prefix = "layers." + std::to_string(i) + ".";
      writer.add(prefix + "projection", {m.num_kv_heads, 32, m.head_dim}, std::span(projection));
      writer.add(prefix + "center", {m.num_kv_heads, m.head_dim}, std::span(center));
      writer.add(prefix + "share", {1}, std::span(&shares[i], 1));
      writer.add(prefix + "reach", {1}, std::span(&reaches[i], 1));
    }
    writer.write(folder_.path() / "shares.safetensors");
    return Votes::load(folder_.path() / "shares.safetensors", m);
  }

  /// Slots of each layer, whose heads get the same.
  [[nodiscard]] std::vector<int32_t> divided(const Votes& votes, int32_t capacity, int64_t num_tokens) const {
    Config config;
    config.shape.capacity = capacity;
    votes.divide(config, num_tokens);
    std::vector<int32_t> of_layers;
    const auto heads = static_cast<size_t>(model_.config().num_kv_heads);
    for (size_t i = 0; i < config.shape.capacities.size(); i += heads) {
      of_layers.push_back(config.shape.capacities[i]);
    }
    return of_layers;
  }

  engine::TemporaryFolder folder_;
  engine::Model model_;
  engine::ThreadPool threads_;
};

TEST_F(VotesTest, EmbeddedOnesReachTheCache) {
  const engine::ModelConfig& m = model_.config();
  const Votes votes = Votes::embedded(m);
  Config config = engine::KvCache::make_config(m, 64);
  config.rule = Rule{Preset::recall};
  ASSERT_EQ(votes.hash_bits(), config.rule.hash_bits);
  engine::KvCache cache(config, threads_);
  votes.apply(cache.cache());
  const engine::Safetensors file = engine::embedded_votes();
  for (int32_t layer = 0; layer < m.num_layers; ++layer) {
    const auto expected = file.at("layers." + std::to_string(layer) + ".projection").f32();
    std::vector<float> projection(expected.size());
    cache.cache().get_projection(layer, Tensor{projection.data(), {m.num_kv_heads, config.rule.hash_bits, m.head_dim}});
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), projection.begin())) << "layer " << layer;
  }
}

constexpr float kEverything = std::numeric_limits<float>::infinity();

TEST_F(VotesTest, LayersDivideTheSlotsByTheirShares) {
  const Votes votes = votes_with({0.5F, 2.0F, 0.5F}, {kEverything, kEverything, kEverything});
  EXPECT_EQ(divided(votes, 100, 1000), (std::vector<int32_t>{50, 200, 50}));
  EXPECT_EQ(divided(votes, 100, 120), (std::vector<int32_t>{90, 120, 90})) << "no more than there are tokens";
  const std::vector<int32_t> uneven = divided(votes, 33, 1000);
  EXPECT_EQ(std::accumulate(uneven.begin(), uneven.end(), 0), 99);
  EXPECT_EQ(divided(votes, 1, 1000), (std::vector<int32_t>{1, 1, 1})) << "none without a slot";
}

TEST_F(VotesTest, WhatIsBeyondALayersReachGoesToTheOthers) {
  const Votes votes = votes_with({0.5F, 1.0F, 1.5F}, {90.0F, 90.0F, kEverything});
  EXPECT_EQ(divided(votes, 50, 1000), (std::vector<int32_t>{25, 50, 75}));
  EXPECT_EQ(divided(votes, 100, 1000), (std::vector<int32_t>{53, 90, 157})) << "the second layer is full";
  EXPECT_EQ(divided(votes, 300, 1000), (std::vector<int32_t>{90, 90, 720}));
  EXPECT_EQ(divided(votes, 450, 1000), (std::vector<int32_t>{147, 203, 1000})) << "what nobody needs is not lost";
  EXPECT_EQ(divided(votes, 1000, 1000), (std::vector<int32_t>{1000, 1000, 1000}));
  EXPECT_EQ(divided(votes, 2000, 1000), (std::vector<int32_t>{1000, 1000, 1000}));
}

TEST_F(VotesTest, SharesAndReachesMustBePositive) {
  for (const float bad : {0.0F, -1.0F, std::nanf("")}) {
    EXPECT_THROW(votes_with({0.5F, bad, 0.5F}, {90.0F, 90.0F, 90.0F}), Error);
    EXPECT_THROW(votes_with({0.5F, 0.5F, 0.5F}, {90.0F, bad, 90.0F}), Error);
  }
  EXPECT_THROW(votes_with({0.5F, kEverything, 0.5F}, {90.0F, 90.0F, 90.0F}), Error);
}

TEST_F(VotesTest, ThoseOfALargerModelAreRefused) {
  const std::vector<float> shares(static_cast<size_t>(model_.config().num_layers) + 1, 1.0F);
  EXPECT_THAT(engine::refusal([&] { votes_with(shares, shares); }), HasSubstr("more layers"));
}

TEST_F(VotesTest, OtherShapesAreRefusedByName) {
  const engine::ModelConfig& m = model_.config();
  EXPECT_THAT(refusal({m.num_kv_heads, 32, m.head_dim / 2}),
              HasSubstr("layers.0.projection has shape [2, 32, 32]; expected [2, 32, 64]"));
  EXPECT_THAT(refusal({m.num_kv_heads, 32, m.head_dim}), HasSubstr("layers.0.center"));
}

}  // namespace
}  // namespace hashevict::cli
