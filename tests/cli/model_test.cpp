// SPDX-License-Identifier: Apache-2.0
// The command on a user's own models: its messages about files that it cannot or must not use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <hashevict/cache.hpp>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "model_folder.hpp"

namespace hashevict::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";

CommandResult generate(const ModelFolder& model, int num_new, const std::string& tokens = "5,6,7") {
  return run_command({"generate", "--model", model.file("."), "--tokens", tokens, "--max-new-tokens",
                      std::to_string(num_new), "--budget", "1.0", "--threads", "1"});
}

void expect_refused_when_generating(const ModelFolder& model, const std::string& expected) {
  expect_refused(generate(model, 16), expected);
}

TEST(GenerateModel, WithinItsContextIsContinuedWithoutAWord) {
  const ModelFolder model;
  model.write();
  const CommandResult result = generate(model, 61);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, Not(HasSubstr("trained")));
  EXPECT_EQ(result.errors, "");
}

TEST(GenerateModel, BeyondItsContextIsSaidInWarningAndResult) {
  const ModelFolder model;
  model.write();
  const CommandResult result = generate(model, 62);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.errors,
            "hashevict: warning: prompt and new tokens take 65 positions, but the model was trained for 64 "
            "(max_position_embeddings)\n");
  EXPECT_THAT(result.output,
              HasSubstr("note: 65 positions, but the model was trained for 64; later text is unreliable"));
}

TEST(GenerateModel, EndTokensOfTheGenerationConfigStopIt) {
  const ModelFolder model;
  model.write();
  json all = json::array();
  for (int token = 0; token < 97; ++token) all.push_back(token);
  write_text(model.file("generation_config.json"), json{{"eos_token_id", all}}.dump());
  const CommandResult result = generate(model, 16);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("agree in the first 1 of 1"));
}

TEST(GenerateModel, ThatIsSpoiltIsRefusedByName) {
  struct Spoilt {
    void (*spoil)(ModelFolder& model);
    const char* expected;
  };
  const Spoilt rows[] = {
      {[](ModelFolder& m) { m.add("model.layers.0.self_attn.q_proj.bias", {16}); },
       "tensor model.layers.0.self_attn.q_proj.bias: a weight that is not understood"},
      {[](ModelFolder& m) { m.tensor("model.layers.0.mlp.up_proj.weight")[33] = std::nanf(""); },
       "tensor model.layers.0.mlp.up_proj.weight: element [2, 1] is NaN"},
      {[](ModelFolder& m) { m.tensor("model.layers.0.mlp.down_proj.weight").assign(256, 3e38F); },
       "position 0, token 5: the model's states are not finite"},
      {[](ModelFolder& m) {
         m.config["rope_parameters"] = {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}};
       },
       "config.json: rope_parameters: partial_rotary_factor is 0.5, expected 1"},
      {[](ModelFolder& m) { m.config["head_dim"] = 12; }, "head_dim is 12, expected a multiple of 8"}};
  for (const Spoilt& row : rows) {
    ModelFolder model;
    row.spoil(model);
    model.write();
    expect_refused_when_generating(model, row.expected);
  }
}

TEST(GenerateModel, PointerOfGitLfsIsCalledByItsName) {
  const ModelFolder model;
  for (const char* name : {"model.safetensors", "config.json", "generation_config.json"}) {
    model.write();
    write_text(model.file(name), kPointer);
    expect_refused_when_generating(model, std::string(name) + ": is a git-lfs pointer");
  }
}

TEST(GenerateModel, ScalingBesideRopeParametersIsKept) {
  ModelFolder model;
  model.config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8}};
  model.write();
  const CommandResult scaled = generate(model, 40);
  model.config["rope_parameters"] = {{"rope_theta", 10000.0}};
  model.write();
  EXPECT_EQ(generate(model, 40).output, scaled.output);
  model.config.erase("rope_scaling");
  model.write();
  EXPECT_NE(generate(model, 40).output, scaled.output);
}

TEST(GenerateModel, TokensBeyondItsVocabularyAreRefused) {
  const ModelFolder model;
  model.write();
  for (const char* tokens : {"5,97", "-1", "5 6 100000"}) {
    expect_refused(generate(model, 4, tokens), "is not a token of this model; expected 0 to 96");
  }
}

TEST(GenerateModel, PathThatCannotBeFollowedIsNamedInOneLine) {
  const TemporaryFolder folder;
  write_text(folder.path("file"), "");
  std::filesystem::create_directory(folder.path("empty"));
  std::filesystem::create_symlink("loop", folder.path("loop"));
  const std::pair<std::string, std::string> paths[] = {{"none", "none: cannot be opened: No such file"},
                                                       {"file/model", "file/model: cannot be opened: Not a directory"},
                                                       {"loop", "loop: cannot be opened: Too many levels"},
                                                       {"empty", "config.json: cannot be opened: No such file"},
                                                       {std::string(300, 'x'), "xxx: cannot be opened: File name too"}};
  for (const auto& [path, reason] : paths) {
    expect_refused(run_command({"generate", "--tokens", "5", "--model", folder.path(path)}), reason);
  }
}

TEST(GenerateModel, FolderWithoutPermissionIsNamedInOneLine) {
  if (::geteuid() == 0) GTEST_SKIP() << "everything is permitted to this user";
  const ModelFolder model;
  model.write();
  std::filesystem::permissions(model.file(""), std::filesystem::perms::none);
  const CommandResult result = generate(model, 4);
  std::filesystem::permissions(model.file(""), std::filesystem::perms::owner_all);
  expect_refused(result, "cannot be opened: Permission denied");
}

TEST(GenerateModel, AdapterIsCalledByItsName) {
  const ModelFolder model;
  model.write();
  write_text(model.file("adapter_config.json"), "{}");
  expect_refused_when_generating(model, "adapter_config.json: an adapter lies beside the model");
  std::filesystem::remove(model.file("config.json"));
  expect_refused_when_generating(model, "adapter_config.json: the folder holds an adapter, not a model");
}

// Weights in a sparse file, which may be longer than its disk.
TEST(GenerateModel, MoreMemoryThanTheProcessMayUseIsRefusedBeforeWeightsAreRead) {
  const uint64_t present = Cache::capabilities(Backend::cpu).host_memory_bytes;
  const uint64_t vocab_size = present / (4 * 4096) + 1;
  ModelFolder model;
  model.config["vocab_size"] = vocab_size;
  model.config["hidden_size"] = 4096;
  model.write();
  const uint64_t bytes = vocab_size * 4096 * 4;
  std::string header = json{{"model.embed_tokens.weight",
                             {{"dtype", "F32"}, {"shape", {vocab_size, 4096}}, {"data_offsets", {0, bytes}}}}}
                           .dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  write_text(model.file("model.safetensors"), std::string(reinterpret_cast<const char*>(&length), 8) + header);
  std::error_code error;
  std::filesystem::resize_file(model.file("model.safetensors"), 8 + length + bytes, error);
  if (error) GTEST_SKIP() << "this file system has no files of that size";
  expect_refused_when_generating(model,
                                 "--model: " + std::to_string(bytes) + " bytes are needed; this process may use");
}

TEST(ReplayTrace, PointerOfGitLfsIsCalledByItsName) {
  const TemporaryFolder folder;
  write_text(folder.path("trace"), kPointer);
  expect_refused(
      run_command({"replay", "--trace", folder.path("trace"), "--out", folder.path("out"), "--budget", "0.5"}),
      "is a git-lfs pointer");
}

}  // namespace
}  // namespace hashevict::test
