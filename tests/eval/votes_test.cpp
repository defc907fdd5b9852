// SPDX-License-Identifier: Apache-2.0
#include "eval/votes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

TEST_F(VotesTest, OtherShapesAreRefusedByName) {
  const engine::ModelConfig& m = model_.config();
  EXPECT_THAT(refusal({m.num_kv_heads, 64, m.head_dim / 2}),
              HasSubstr("layers.0.projection has the shape [2, 64, 32], but the model asks for [2, 64, 64]"));
  EXPECT_THAT(refusal({m.num_kv_heads, 64, m.head_dim}), HasSubstr("layers.0.center"));
}

}  // namespace
}  // namespace hashevict::eval
