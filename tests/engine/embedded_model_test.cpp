// SPDX-License-Identifier: Apache-2.0
#include "engine/embedded_model.hpp"

#include <gtest/gtest.h>

#include "engine/file_mapping.hpp"
#include "engine/tokenizer.hpp"
#include "random_model.hpp"

namespace hashevict::engine {
namespace {

const std::filesystem::path kAssets = HASHEVICT_ASSETS;

TEST(EmbeddedModel, IsTheOneOfTheAssets) {
  const Model embedded = load_embedded_model();
  const Model file = Model::load(kAssets / "tiny-llama");
  EXPECT_GE(embedded.config().vocab_size, 256);
  EXPECT_GE(embedded.config().num_qo_heads, 2 * embedded.config().num_kv_heads);
  EXPECT_EQ(embedded.num_parameters(), file.num_parameters());
  const std::vector<std::int32_t> tokens = ByteTokenizer::encode("The same text gives the same logits.");
  EXPECT_EQ(Engine(embedded, 128).stream(tokens, 64), Engine(file, 128).stream(tokens, 64));
}

TEST(EmbeddedModel, TextIsTheOneOfTheAssets) {
  EXPECT_EQ(embedded_sample_text(), FileMapping(kAssets / "text/sample.txt").text());
}

}  // namespace
}  // namespace hashevict::engine
