// SPDX-License-Identifier: Apache-2.0
#include "engine/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json small() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 264}};
}

ModelConfig parse(const json& object) {
  return parse_model_config(object.dump(), "config.json");
}

void expect_refused(const json& object, Status status, const std::string& field) {
  try {
    parse(object);
    FAIL() << object;
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), status) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("config.json: "));
    EXPECT_THAT(error.what(), HasSubstr(field));
  }
}

TEST(Config, AbsentFieldsTakeTheFormatsDefaults) {
  const ModelConfig config = parse(small());
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rope_theta, 10000.0F);
  EXPECT_EQ(config.rms_norm_eps, 1e-6F);
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::none);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.bos_token.has_value());
  EXPECT_TRUE(config.eos_tokens.empty());
}

TEST(Config, NullMeansAbsent) {
  json object = small();
  for (const char* key : {"rope_scaling", "head_dim", "num_key_value_heads", "sliding_window", "eos_token_id"}) {
    object[key] = nullptr;
  }
  EXPECT_EQ(parse(object).num_kv_heads, 4);
}

TEST(Config, GivenFieldsAreRead) {
  json object = small();
  object.update({{"num_key_value_heads", 2},
                 {"head_dim", 24},
                 {"rope_theta", 500000},
                 {"rms_norm_eps", 1e-5},
                 {"tie_word_embeddings", true},
                 {"bos_token_id", 256},
                 {"eos_token_id", {257, 258}},
                 {"max_position_embeddings", 77}});
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 24);
  EXPECT_EQ(config.rope_theta, 500000.0F);
  EXPECT_EQ(config.rms_norm_eps, 1e-5F);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token, 256);
  EXPECT_THAT(config.eos_tokens, ElementsAre(257, 258));
  EXPECT_EQ(config.max_position_embeddings, 77);
}

TEST(Config, RopeScalingIsRead) {
  json object = small();
  object["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  EXPECT_EQ(parse(object).rope_scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(parse(object).rope_scaling.factor, 2.5F);
  object["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8},
                            {"low_freq_factor", 1},
                            {"high_freq_factor", 4},
                            {"original_max_position_embeddings", 8192}};
  const RopeScaling scaling = parse(object).rope_scaling;
  EXPECT_EQ(scaling.kind, RopeScaling::Kind::llama3);
  EXPECT_EQ(scaling.factor, 8.0F);
  EXPECT_EQ(scaling.high_freq_factor, 4.0F);
  EXPECT_EQ(scaling.original_max_position_embeddings, 8192);
}

TEST(Config, RopeParametersOfNewerFilesAreRead) {
  json object = small();
  object["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_EQ(parse(object).rope_theta, 5e5F);
  EXPECT_EQ(parse(object).rope_scaling.kind, RopeScaling::Kind::none);
}

TEST(Config, MissingOrWrongFieldIsNamed) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    for (const json& value : {json(nullptr), json(0), json(-1), json(1.5), json("8"), json(4294967296)}) {
      json object = small();
      object[key] = value;
      expect_refused(object, Status::invalid_data, key);
    }
  }
}

TEST(Config, ContradictionsAreRefused) {
  json object = small();
  object["num_key_value_heads"] = 3;
  expect_refused(object, Status::invalid_data, "num_key_value_heads");
  object = small();
  object["hidden_size"] = 66;
  expect_refused(object, Status::invalid_data, "head_dim");
  object = small();
  object["rms_norm_eps"] = 0;
  expect_refused(object, Status::invalid_data, "rms_norm_eps");
  object = small();
  object["rope_scaling"] = "llama3";
  expect_refused(object, Status::invalid_data, "rope_scaling");
  object["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8}};
  expect_refused(object, Status::invalid_data, "low_freq_factor");
  object["rope_scaling"] = {{"rope_type", "linear"}};
  expect_refused(object, Status::invalid_data, "factor");
}

TEST(Config, WhatWouldBeComputedWronglyIsRefused) {
  const std::pair<const char*, json> fields[] = {{"attention_bias", true},
                                                 {"mlp_bias", true},
                                                 {"hidden_act", "gelu"},
                                                 {"sliding_window", 4096},
                                                 {"partial_rotary_factor", 0.5},
                                                 {"quantization_config", {{"bits", 4}}},
                                                 {"model_type", "qwen2"},
                                                 {"architectures", {"GPT2LMHeadModel"}},
                                                 {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}}}};
  for (const auto& [key, value] : fields) {
    json object = small();
    object[key] = value;
    expect_refused(object, Status::unsupported, key == std::string("rope_scaling") ? "rope_type" : key);
  }
  json object = small();
  object["head_dim"] = 20;
  expect_refused(object, Status::unsupported, "multiple of 8");
  object["head_dim"] = 264;
  expect_refused(object, Status::unsupported, "up to 256");
  object = small();
  object.erase("architectures");
  object.erase("model_type");
  expect_refused(object, Status::unsupported, "model_type");
}

TEST(Config, TextThatIsNoConfigIsRefused) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("\xff"),
                                  std::string(100000, '[') + std::string(100000, ']')}) {
    EXPECT_THROW(parse_model_config(text, "x"), Error);
  }
  const TemporaryFolder folder;
  EXPECT_THROW(load_model_config(folder.path() / "missing.json"), Error);
  EXPECT_THROW(load_model_config(folder.path()), Error);
  EXPECT_EQ(load_model_config(folder.write("config.json", small().dump())).hidden_size, 64);
}

}  // namespace
}  // namespace hashevict::engine
