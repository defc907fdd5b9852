// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "random_model.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "hidden_size": 37, "intermediate_size": 51, "num_hidden_layers": 2,
  "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 41, "rms_norm_eps": 1e-5,
  "rope_scaling": {"rope_type": "llama3", "factor": 4, "low_freq_factor": 1, "high_freq_factor": 4,
                   "original_max_position_embeddings": 64}})";

void write(const std::filesystem::path& path, const std::vector<const StoredTensor*>& tensors) {
  SafetensorsWriter writer;
  for (const StoredTensor* tensor : tensors) writer.add(tensor->name, tensor->type, tensor->shape, tensor->bytes);
  writer.write(path);
}

// A random checkpoint in two shards; returns the index that names them.
std::string write_shards(const std::filesystem::path& folder, const RandomCheckpoint& checkpoint) {
  std::vector<const StoredTensor*> shards[2];
  std::string map;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const std::size_t shard = name < "model.layers.1" ? 0 : 1;
    shards[shard].push_back(&tensor);
    map += (map.empty() ? "\"" : ",\"") + name + "\":\"shard-" + std::to_string(shard) + ".safetensors\"";
  }
  write(folder / "shard-0.safetensors", shards[0]);
  write(folder / "shard-1.safetensors", shards[1]);
  return "{\"metadata\":{},\"weight_map\":{" + map + "}}";
}

std::vector<float> first_matrix(const Model& model) {
  std::vector<float> row(static_cast<std::size_t>(model.config().hidden_size));
  model.layers()[1].gate_up.copy_row(60, row.data());
  return row;
}

TEST(Checkpoint, ShardsGiveTheModelOfOneFile) {
  const RandomCheckpoint checkpoint(odd_config(), ElementType::bf16, 3);
  const TemporaryFolder folder;
  folder.write("config.json", kConfig);
  folder.write("model.safetensors.index.json", write_shards(folder.path(), checkpoint));
  const TemporaryFolder single;
  single.write("config.json", kConfig);
  std::vector<const StoredTensor*> all;
  for (const auto& entry : checkpoint.tensors()) all.push_back(&entry.second);
  write(single.path() / "model.safetensors", all);

  const Model sharded = Model::load(folder.path());
  EXPECT_EQ(first_matrix(sharded), first_matrix(Model::load(single.path())));
  EXPECT_EQ(first_matrix(sharded), first_matrix(Model::load(single.path() / "model.safetensors")));
  EXPECT_EQ(first_matrix(sharded), first_matrix(Model::load(folder.path() / "model.safetensors.index.json")));
  std::int64_t elements = 0;
  for (const auto& entry : checkpoint.tensors()) elements += entry.second.num_elements();
  EXPECT_EQ(sharded.num_parameters(), elements);
}

TEST(Checkpoint, BadIndexIsRefused) {
  const TemporaryFolder folder;
  const RandomCheckpoint checkpoint(odd_config(), ElementType::f32, 3);
  write_shards(folder.path(), checkpoint);
  const auto path = folder.path() / "model.safetensors.index.json";
  for (const char* index : {
           "",
           "[]",
           "{}",
           R"({"weight_map": []})",
           R"({"weight_map": {"a": 1}})",
           R"({"weight_map": {"a": ".."}})",
           R"({"weight_map": {"a": "../shard-0.safetensors"}})",
           R"({"weight_map": {"a": "/etc/passwd"}})",
           R"({"weight_map": {"a": "missing.safetensors"}})",
           R"({"weight_map": {"a": "shard-0.safetensors"}})",
       }) {
    folder.write("model.safetensors.index.json", index);
    EXPECT_THROW(Checkpoint{path}, Error) << index;
  }
  folder.write("model.safetensors.index.json", R"({"weight_map": {"model.norm.weight": "shard-1.safetensors"}})");
  EXPECT_NE(Checkpoint{path}.find("model.norm.weight"), nullptr);
}

TEST(Checkpoint, TensorThatTheConfigContradictsIsNamed) {
  const auto expect_refused = [](RandomCheckpoint& checkpoint, const std::string& name, const std::string& message) {
    try {
      Model(odd_config(),
            [&](std::string_view wanted) { return wanted == "gone" ? nullptr : checkpoint.find(wanted); });
      FAIL() << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::invalid_data);
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(name), testing::HasSubstr(message)));
    }
  };
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  RandomCheckpoint transposed(odd_config(), ElementType::f32, 1);
  std::swap(transposed.tensor(name).shape[0], transposed.tensor(name).shape[1]);
  expect_refused(transposed, name, "[51, 37]");
  RandomCheckpoint integers(odd_config(), ElementType::f32, 1);
  integers.tensor(name).type = ElementType::i32;
  expect_refused(integers, name, "I32");
  ModelConfig tied = odd_config();
  tied.tie_word_embeddings = true;
  RandomCheckpoint without_head(tied, ElementType::f32, 1);
  expect_refused(without_head, "lm_head.weight", "no tensor");
}

}  // namespace
}  // namespace hashevict::engine
