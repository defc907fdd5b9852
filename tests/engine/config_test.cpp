// SPDX-License-Identifier: Apache-2.0
// Fields of a config.json: some are honoured, some are known to change nothing, and all others are refused.
#include "engine/config.hpp"

#include <nlohmann/json.hpp>

#include "engine/rope.hpp"
#include "refusal.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Status kBad = Status::invalid_data;
constexpr Status kForeign = Status::unsupported;

json small() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"max_position_embeddings", 64},
          {"vocab_size", 264}};
}

json with(const json& changes) {
  json object = small();
  object.update(changes);
  return object;
}

ModelConfig parse(const json& object) {
  return parse_model_config(object.dump(), "config.json");
}

void expect_refused(const json& object, Status status, const std::string& expected) {
  EXPECT_THAT(refusal([&] { parse(object); }, status), AllOf(HasSubstr("config.json: "), HasSubstr(expected)))
      << object;
}

json llama3() {
  return {{"rope_type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 1},
          {"high_freq_factor", 4},
          {"original_max_position_embeddings", 16}};
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
  EXPECT_EQ(parse(with({{"rope_scaling", nullptr},
                        {"head_dim", nullptr},
                        {"num_key_value_heads", nullptr},
                        {"sliding_window", nullptr},
                        {"eos_token_id", nullptr},
                        {"frobnicate", nullptr}}))
                .num_kv_heads,
            4);
}

TEST(Config, GivenFieldsAreRead) {
  const ModelConfig config = parse(with({{"num_key_value_heads", 2},
                                         {"head_dim", 24},
                                         {"rope_theta", 500000},
                                         {"rms_norm_eps", 1e-5},
                                         {"tie_word_embeddings", true},
                                         {"bos_token_id", 256},
                                         {"eos_token_id", {257, 258}},
                                         {"max_position_embeddings", 77}}));
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
  const RopeScaling linear = parse(with({{"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}})).rope_scaling;
  EXPECT_EQ(linear.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(linear.factor, 2.5F);
  const RopeScaling scaling = parse(with({{"rope_scaling", llama3()}})).rope_scaling;
  EXPECT_EQ(scaling.kind, RopeScaling::Kind::llama3);
  EXPECT_EQ(scaling.factor, 8.0F);
  EXPECT_EQ(scaling.high_freq_factor, 4.0F);
  EXPECT_EQ(scaling.original_max_position_embeddings, 16);
  const ModelConfig newer = parse(with({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}}}));
  EXPECT_EQ(newer.rope_theta, 5e5F);
  EXPECT_EQ(newer.rope_scaling.kind, RopeScaling::Kind::none);
}

TEST(Config, MissingOrWrongFieldIsNamed) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    for (const json& value : {json(nullptr), json(0), json(-1), json(1.5), json("8"), json(4294967296)}) {
      expect_refused(with({{key, value}}), kBad, key);
    }
  }
}

TEST(Config, WhatIsContradictoryOrWouldBeComputedWronglyIsRefused) {
  struct Refused {
    json changes;
    Status status;
    const char* expected;
  };
  const Refused rows[] = {
      {{{"num_key_value_heads", 3}}, kBad, "num_key_value_heads"},
      {{{"hidden_size", 66}}, kBad, "head_dim"},
      {{{"rms_norm_eps", 0}}, kBad, "rms_norm_eps"},
      {{{"rope_scaling", "llama3"}}, kBad, "rope_scaling"},
      {{{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}}}, kBad, "low_freq_factor"},
      {{{"rope_scaling", {{"rope_type", "linear"}}}}, kBad, "factor"},
      {{{"hidden_act", "gelu"}}, kForeign, "hidden_act"},
      {{{"sliding_window", 4096}}, kForeign, "sliding_window"},
      {{{"model_type", "qwen2"}}, kForeign, "model_type"},
      {{{"model_type", nullptr}, {"architectures", nullptr}}, kForeign, "model_type"},
      {{{"architectures", {"GPT2LMHeadModel"}}}, kForeign, "architectures"},
      {{{"architectures", {"LlamaForCausalLM", "Qwen2ForCausalLM"}}}, kForeign, "architectures"},
      {{{"architectures", json::array()}}, kForeign, "architectures"},
      {{{"architectures", {"LlamaForSequenceClassification"}}}, kForeign, "architectures"},
      {{{"head_dim", 20}}, kForeign, "head_dim is 20, expected a multiple of 8 up to 256"},
      {{{"head_dim", 264}}, kForeign, "up to 256"},
      {{{"hidden_size", 48}}, kForeign, "head_dim is 12 (hidden_size / num_attention_heads), expected a multiple of 8"},
      {{{"frobnicate", {{"depth", 3}}}},
       kForeign,
       "frobnicate is {\"depth\":3}, a setting that is not understood by this decoder"},
      {{{"moe_intermediate_size", 768}}, kForeign, "moe_intermediate_size is 768"},
      {{{"text_config", json::object()}}, kForeign, "text_config"},
      {{{"layer_norm_eps", 1e-5}}, kForeign, "layer_norm_eps"},
      {{{"a\nb", 1}}, kForeign, "a\\nb is 1"},
  };
  for (const Refused& row : rows) expect_refused(with(row.changes), row.status, row.expected);
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

TEST(ConfigKeys, SettingsThatChangeResultsAreTakenWithTheirNeutralValueAlone) {
  struct Setting {
    const char* key;
    json neutral, other;
  };
  const Setting settings[] = {
      {"attention_bias", false, true},
      {"mlp_bias", false, true},
      {"qkv_bias", false, true},
      {"use_qk_norm", false, true},
      {"qk_norm", false, true},
      {"attn_logit_softcapping", nullptr, 50.0},
      {"final_logit_softcapping", nullptr, 30.0},
      {"embedding_multiplier", 1.0, 12.0},
      {"residual_multiplier", 1, 0.22},
      {"logits_scaling", 1, 8.0},
      {"logit_scale", 1.0, 0.0625},
      {"attention_multiplier", 0.25, 0.0078125},
      {"query_pre_attn_scalar", 16, 256},
      {"partial_rotary_factor", 1.0, 0.25},
      {"rotary_pct", 1.0, 0.25},
      {"rotary_dim", 16, 8},
      {"rope_interleaved", false, true},
      {"pretraining_tp", 1, 2},
      {"num_local_experts", 0, 8},
      {"num_experts", 0, 128},
      {"quantization_config", nullptr, {{"quant_method", "fp8"}}},
      {"use_sliding_window", false, true},
      {"layer_types", {"full_attention", "full_attention"}, {"full_attention", "sliding_attention"}},
      {"layer_types", nullptr, {"full_attention"}},
      {"no_rope_layers", {1, 1}, {1, 0}},
      {"no_rope_layer_interval", nullptr, 4},
      {"hidden_activation", "silu", "gelu_pytorch_tanh"},
      {"original_max_position_embeddings", 64, 16},
      {"is_encoder_decoder", false, true},
      {"auto_map", nullptr, {{"AutoModelForCausalLM", "modeling_own.OwnForCausalLM"}}},
      {"head_dim", 16, 12}};
  for (const Setting& setting : settings) {
    EXPECT_NO_THROW(parse(with({{setting.key, setting.neutral}}))) << setting.key;
    expect_refused(with({{setting.key, setting.other}}), kForeign, setting.key);
  }
}

TEST(ConfigKeys, WindowCountsUnlessTheFileSwitchesItOff) {
  json object = with({{"sliding_window", 32}});
  expect_refused(object, kForeign, "sliding_window is 32, expected null");
  object["use_sliding_window"] = false;
  object["max_window_layers"] = 2;
  EXPECT_NO_THROW(parse(object));
  object["model_type"] = "mistral";  // which has no such switch
  object["num_key_value_heads"] = 4;
  expect_refused(object, kForeign, "sliding_window is 32");
}

TEST(ConfigKeys, MistralsDefaultsAreNotLlamas) {
  json object = with({{"model_type", "mistral"}, {"sliding_window", nullptr}});
  expect_refused(object, kBad,
                 "num_key_value_heads is nothing, expected a divisor of num_attention_heads = 4; where it is "
                 "missing, Mistral's is 8");
  object["num_attention_heads"] = 8;
  object["head_dim"] = 16;
  EXPECT_EQ(parse(object).num_kv_heads, 8);
  object["num_attention_heads"] = 16;
  EXPECT_EQ(parse(object).num_kv_heads, 8);
  object["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(object).num_kv_heads, 16);
  object.erase("sliding_window");
  expect_refused(object, kForeign, "sliding_window is nothing, expected null; where it is missing, Mistral's is 4096");
}

TEST(RopeConfig, ScalingBesideParametersWithoutATypeIsKept) {
  json both = with({{"rope_scaling", llama3()}});
  const ModelConfig expected = parse(both);
  both["rope_parameters"] = {{"rope_theta", 10000.0}};
  EXPECT_EQ(rope_frequencies(parse(both)), rope_frequencies(expected));
  EXPECT_EQ(parse(both).rope_scaling.kind, RopeScaling::Kind::llama3);
  both["rope_parameters"] = llama3();
  EXPECT_EQ(rope_frequencies(parse(both)), rope_frequencies(expected));
}

TEST(RopeConfig, ParametersAreAddedUpWhereverTheyStand) {
  const ModelConfig config =
      parse(with({{"rope_theta", 5e5}, {"rope_scaling", {{"factor", 2}}}, {"rope_parameters", {{"type", "linear"}}}}));
  EXPECT_EQ(config.rope_theta, 5e5F);
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(config.rope_scaling.factor, 2.0F);
}

TEST(RopeConfig, ContradictionsAreRefused) {
  const auto refuse = [](json changes, const std::string& expected) { expect_refused(with(changes), kBad, expected); };
  refuse({{"rope_scaling", llama3()}, {"rope_parameters", {{"rope_type", "default"}}}},
         "rope_parameters: rope_type is \"default\", expected \"llama3\"");
  refuse({{"rope_scaling", llama3()}, {"rope_parameters", {{"factor", 4}}}},
         "rope_parameters: factor is 4, expected 8");
  refuse({{"rope_scaling", {{"type", "linear"}, {"rope_type", "llama3"}, {"factor", 2}}}}, "type");
  refuse({{"rope_theta", 1e6}, {"rope_parameters", {{"rope_theta", 1e4}}}},
         "rope_parameters: rope_theta is 10000.0, expected 1000000.0");
  EXPECT_EQ(parse(with({{"rope_theta", 1e6}, {"rope_parameters", {{"rope_theta", 1000000}}}})).rope_theta, 1e6F);
}

TEST(RopeConfig, SettingsThatTheKindDoesNotReadAreRefused) {
  for (const char* place : {"rope_scaling", "rope_parameters"}) {
    const auto refuse = [&](json rope, const std::string& expected) {
      expect_refused(with({{place, rope}}), kForeign, std::string(place) + ": " + expected);
    };
    refuse({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}, "partial_rotary_factor is 0.5, expected 1");
    refuse({{"factor", 8}}, "factor is 8, expected 1");
    refuse({{"rope_type", "linear"}, {"factor", 2}, {"low_freq_factor", 1}}, "low_freq_factor is 1");
    refuse({{"rope_type", "linear"}, {"factor", 2}, {"attention_factor", 0.9}}, "attention_factor is 0.9");
    refuse({{"rope_type", "linear"}, {"factor", 2}, {"mscale", 1.0}}, "mscale is 1.0, a setting");
    refuse({{"rope_type", "linear"}, {"factor", 2}, {"beta_fast", 32}}, "beta_fast");
    refuse({{"original_max_position_embeddings", 16}}, "original_max_position_embeddings is 16");
    refuse({{"full_attention", {{"rope_type", "default"}}}}, "full_attention is {");
    for (const char* type : {"yarn", "dynamic", "longrope", "su", "mrope", "proportional"}) {
      refuse({{"rope_type", type}, {"factor", 2}}, "rope_type is \"" + std::string(type));
    }
  }
}

TEST(RopeConfig, NeutralSettingsAreTaken) {
  for (const json& rope :
       {json::object(), json{{"rope_type", "default"}}, json{{"type", "default"}, {"rope_type", "default"}},
        json{{"partial_rotary_factor", 1.0}}, json{{"factor", 1.0}}, json{{"attention_factor", nullptr}},
        json{{"original_max_position_embeddings", 64}}}) {
    EXPECT_EQ(parse(with({{"rope_scaling", rope}})).rope_scaling.kind, RopeScaling::Kind::none) << rope;
  }
}

TEST(ConfigTokens, IdsThatNoTokenHasAreNone) {
  EXPECT_TRUE(parse(with({{"eos_token_id", -1}})).eos_tokens.empty());
  EXPECT_TRUE(parse(with({{"eos_token_id", 264}})).eos_tokens.empty());
  EXPECT_THAT(parse(with({{"eos_token_id", {128001, 257, -1, 258}}})).eos_tokens, ElementsAre(257, 258));
  for (const json& bad :
       {json("2"), json(2.5), json(-2), json(true), json({{"a", 1}}), json({{2}}), json(4294967296)}) {
    expect_refused(with({{"eos_token_id", bad}}), kBad, "eos_token_id");
    expect_refused(with({{"bos_token_id", bad}}), kBad, "bos_token_id");
  }
}

TEST(GenerationConfig, MarksReplaceThoseOfTheConfig) {
  ModelConfig config = parse(with({{"bos_token_id", 256}, {"eos_token_id", 257}}));
  apply_generation_config(R"({"do_sample": true, "temperature": 0.6})", "generation_config.json", config);
  EXPECT_EQ(config.bos_token, 256);
  EXPECT_THAT(config.eos_tokens, ElementsAre(257));
  apply_generation_config(R"({"bos_token_id": 260, "eos_token_id": [258, 259]})", "generation_config.json", config);
  EXPECT_EQ(config.bos_token, 260);
  EXPECT_THAT(config.eos_tokens, ElementsAre(258, 259));
}

TEST(GenerationConfig, BadFileIsNamed) {
  ModelConfig config = parse(small());
  for (const char* text : {"", "[]", R"({"eos_token_id": "two"})", R"({"eos_token_id": 1, "eos_token_id": 2})"}) {
    EXPECT_THAT(refusal([&] { apply_generation_config(text, "generation_config.json", config); }),
                HasSubstr("generation_config.json: "));
  }
}

}  // namespace
}  // namespace hashevict::engine
