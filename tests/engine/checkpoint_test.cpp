// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint.hpp"

#include <utility>

#include "random_model.hpp"
#include "refusal.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "hidden_size": 37, "intermediate_size": 51, "num_hidden_layers": 2,
  "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 41, "rms_norm_eps": 1e-5,
  "rope_scaling": {"rope_type": "llama3", "factor": 4, "low_freq_factor": 1, "high_freq_factor": 4,
                   "original_max_position_embeddings": 64}})";

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";

// A folder with the config of a random checkpoint. Tests write its tensors.
struct ModelFolder : TemporaryFolder {
  RandomCheckpoint checkpoint;

  explicit ModelFolder(ElementType type = ElementType::f32) : checkpoint(odd_config(), type, 3) {
    write("config.json", kConfig);
  }

  // Writes the tensors with names from `first` to before `end`, and `more` if it is given.
  void write_file(const char* file, const std::string& first = "", const std::string& end = "~",
                  const StoredTensor* more = nullptr) const {
    SafetensorsWriter writer;
    const auto add = [&](const StoredTensor& t) { writer.add(t.name, t.type, t.shape, t.bytes); };
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      if (name >= first && name < end) add(tensor);
    }
    if (more != nullptr) add(*more);
    writer.write(path() / file);
  }
  void write_whole() const { write_file("model.safetensors"); }

  // Writes two shards and the index that names them.
  void write_shards() const {
    write_file("shard-0.safetensors", "", "model.layers.1");
    write_file("shard-1.safetensors", "model.layers.1");
    std::string map;
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      map += (map.empty() ? "\"" : ",\"") + name + "\":\"shard-" + (name < "model.layers.1" ? "0" : "1") +
             ".safetensors\"";
    }
    write(kIndex, "{\"metadata\":{},\"weight_map\":{" + map + "}}");
  }

  Model load(const char* file = "") const { return Model::load(path() / file); }
  std::string load_refusal(const char* file = "", Status status = Status::invalid_data) const {
    return refusal([&] { load(file); }, status);
  }
  std::string index_refusal() const {
    return refusal([&] { Checkpoint{path() / kIndex}; });
  }
};

std::vector<float> first_matrix(const Model& model) {
  std::vector<float> row(static_cast<std::size_t>(model.config().hidden_size));
  model.layers()[1].gate_up.copy_row(60, row.data());
  return row;
}

TEST(Checkpoint, ShardsGiveTheModelOfOneFile) {
  const ModelFolder folder(ElementType::bf16);
  folder.write_shards();
  const ModelFolder single(ElementType::bf16);
  single.write_whole();
  const Model sharded = folder.load();
  EXPECT_EQ(first_matrix(sharded), first_matrix(single.load()));
  EXPECT_EQ(first_matrix(sharded), first_matrix(single.load("model.safetensors")));
  EXPECT_EQ(first_matrix(sharded), first_matrix(folder.load(kIndex)));
  std::int64_t elements = 0;
  for (const auto& entry : folder.checkpoint.tensors()) elements += entry.second.num_elements();
  EXPECT_EQ(sharded.num_parameters(), elements);
}

TEST(Checkpoint, WholeFileIsTakenBesideAStaleIndex) {
  const ModelFolder folder(ElementType::bf16);
  folder.write_whole();
  folder.write(kIndex, R"({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}})");
  EXPECT_EQ(first_matrix(folder.load()), first_matrix(Model(odd_config(), folder.checkpoint.table())));
}

TEST(Checkpoint, MissingShardsAreNamedAndCounted) {
  const ModelFolder folder;
  folder.write_shards();
  std::filesystem::remove(folder.path() / "shard-1.safetensors");
  EXPECT_THAT(folder.index_refusal(),
              HasSubstr("names the shard \"shard-1.safetensors\", which is not there (1 of 2 are missing)"));
}

TEST(Checkpoint, TensorInTwoShardsIsRefused) {
  const ModelFolder folder;
  folder.write_shards();
  folder.write_file("shard-0.safetensors");
  EXPECT_THAT(folder.index_refusal(), HasSubstr("shard-1.safetensors: holds the tensor"));
}

TEST(Checkpoint, BiasThatTheIndexDoesNotListIsRefused) {
  const ModelFolder folder;
  folder.write_shards();
  const std::vector<float> bias(4);
  const StoredTensor unlisted{
      "model.layers.1.mlp.down_proj.bias", ElementType::f32, {4}, std::as_bytes(std::span(bias))};
  folder.write_file("shard-1.safetensors", "model.layers.1", "~", &unlisted);
  EXPECT_THAT(folder.load_refusal("", Status::unsupported), HasSubstr("model.layers.1.mlp.down_proj.bias: a weight"));
}

TEST(Checkpoint, FolderInAnotherFormIsToldSo) {
  const ModelFolder folder;
  EXPECT_THAT(folder.load_refusal(), HasSubstr("holds neither model.safetensors nor"));
  folder.write("pytorch_model.bin", "PK");
  EXPECT_THAT(folder.load_refusal(), HasSubstr("there is pytorch_model.bin"));
}

TEST(Checkpoint, FolderThatHoldsOnlyAnAdapterIsToldSo) {
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}) {
    const ModelFolder folder;
    std::filesystem::remove(folder.path() / "config.json");
    folder.write(name, "{}");
    for (const char* path : {"", name}) {
      EXPECT_THAT(folder.load_refusal(path, Status::unsupported),
                  HasSubstr(std::string(name) + ": the folder holds an adapter, not a model; expected a model"));
    }
  }
}

TEST(Checkpoint, AdapterBesideAModelIsRefused) {
  const ModelFolder folder;
  folder.write_whole();
  folder.write("adapter_model.safetensors", "");
  EXPECT_NO_THROW(folder.load()) << "nobody applies weights that no adapter_config.json announces";
  folder.write("adapter_config.json", "{}");
  for (const char* path : {"", "model.safetensors"}) {
    EXPECT_THAT(folder.load_refusal(path, Status::unsupported),
                HasSubstr("adapter_config.json: an adapter lies beside the model, and adapters are not applied"));
  }
}

TEST(Checkpoint, WeightsThatAreNotAdmittedAreNotRead) {
  ModelFolder folder;
  folder.checkpoint.tensor("model.norm.weight").shape = {1, 37};  // which would be refused when read
  folder.write_whole();
  std::uint64_t bytes = 0;
  for (const auto& entry : folder.checkpoint.tensors()) bytes += entry.second.bytes.size();
  const auto refuse = [](std::uint64_t needed) {
    throw Error{Status::out_of_memory, std::to_string(needed) + " bytes are too many"};
  };
  EXPECT_EQ(refusal([&] { Model::load(folder.path(), refuse); }, Status::out_of_memory),
            std::to_string(bytes) + " bytes are too many");
}

TEST(Checkpoint, WeightsThatAreNotCopiedTakeNoBytes) {
  const RandomCheckpoint checkpoint(odd_config(), ElementType::bf16, 3);
  TensorTable tensors = checkpoint.table();
  const std::uint64_t bytes = weight_bytes(tensors, false);
  EXPECT_EQ(weight_bytes(tensors, true), bytes - tensors.at("lm_head.weight")->bytes.size());
  const std::vector<std::byte> data(64);
  const StoredTensor of_others[] = {{"model.layers.0.self_attn.rotary_emb.inv_freq", ElementType::f32, {16}, data},
                                    {"vision.weight", ElementType::f32, {16}, data},
                                    {"model.ids", ElementType::i32, {16}, data}};
  for (const StoredTensor& tensor : of_others) tensors.emplace(tensor.name, &tensor);
  EXPECT_EQ(weight_bytes(tensors, false), bytes);
}

TEST(Checkpoint, PathThatCannotBeFollowedIsNamedWithTheReason) {
  const TemporaryFolder folder;
  folder.write("file", "");
  std::filesystem::create_symlink("loop", folder.path() / "loop");
  const std::pair<std::string, std::string> paths[] = {
      {"none", "No such file or directory"},         {"file/model", "Not a directory"},
      {"loop", "Too many levels of symbolic links"}, {"loop/model.safetensors", "Too many levels of symbolic links"},
      {std::string(300, 'x'), "File name too long"},
  };
  for (const auto& [path, reason] : paths) {
    const std::filesystem::path place = folder.path() / path;
    const std::string expected = place.string() + ": cannot be opened: " + reason;
    EXPECT_EQ(refusal([&] { Model::load(place); }), expected);
    EXPECT_EQ(refusal([&] { Checkpoint{place}; }), expected);
  }
}

TEST(Checkpoint, PartsThatCannotBeOpenedAreNamed) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    const ModelFolder folder;
    folder.write_whole();
    std::filesystem::remove(folder.path() / name);
    std::filesystem::create_directory(folder.path() / name);
    EXPECT_THAT(folder.load_refusal(), HasSubstr(std::string(name) + ": is not a regular file"));
    std::filesystem::remove(folder.path() / name);
    std::filesystem::create_symlink(name, folder.path() / name);
    EXPECT_THAT(folder.load_refusal(), HasSubstr(std::string(name) + ": cannot be opened: Too many levels"));
  }
}

TEST(Checkpoint, PointersOfGitLfsAreNamedWhereverTheyLie) {
  for (const char* name : {"config.json", "generation_config.json", kIndex, "shard-1.safetensors"}) {
    const ModelFolder folder;
    folder.write_shards();
    folder.write(name, kPointer);
    EXPECT_THAT(folder.load_refusal(), HasSubstr(std::string(name) + ": is a git-lfs pointer"));
  }
}

TEST(Checkpoint, MarksOfTheGenerationConfigCount) {
  const ModelFolder folder;
  folder.write_whole();
  EXPECT_THAT(folder.load().config().eos_tokens, testing::IsEmpty());
  folder.write("generation_config.json", R"({"bos_token_id": 1, "eos_token_id": [2, 3], "do_sample": true})");
  EXPECT_THAT(folder.load().config().eos_tokens, testing::ElementsAre(2, 3));
  EXPECT_THAT(folder.load("model.safetensors").config().eos_tokens, testing::ElementsAre(2, 3));
}

TEST(Checkpoint, BadIndexIsRefused) {
  const ModelFolder folder;
  folder.write_shards();
  for (const char* index : {
           "",
           "[]",
           "{}",
           R"({"weight_map": []})",
           R"({"weight_map": {}})",
           R"({"weight_map": {"a": 1}})",
           R"({"weight_map": {"model.norm.weight": "shard-1.safetensors"}, "weight_map": {}})",
           R"({"weight_map": {"model.norm.weight": "shard-1.safetensors"}} x)",
           R"({"weight_map": {"a": ".."}})",
           R"({"weight_map": {"a": "../shard-0.safetensors"}})",
           R"({"weight_map": {"a": "/etc/passwd"}})",
           R"({"weight_map": {"a": "missing.safetensors"}})",
           R"({"weight_map": {"a": "shard-0.safetensors"}})",
       }) {
    folder.write(kIndex, index);
    EXPECT_NE(folder.index_refusal(), "accepted") << index;
  }
  folder.write(kIndex, R"({"weight_map": {"model.norm.weight": "shard-1.safetensors"}})");
  EXPECT_TRUE(Checkpoint{folder.path() / kIndex}.tensors().contains("model.norm.weight"));
}

TEST(Checkpoint, TensorThatTheConfigContradictsIsNamed) {
  const auto message = [](const ModelConfig& config, const RandomCheckpoint& checkpoint) {
    return refusal([&] { Model(config, checkpoint.table()); });
  };
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  RandomCheckpoint transposed(odd_config(), ElementType::f32, 1);
  std::swap(transposed.tensor(name).shape[0], transposed.tensor(name).shape[1]);
  EXPECT_THAT(message(odd_config(), transposed), AllOf(HasSubstr(name), HasSubstr("[51, 37]")));
  RandomCheckpoint integers(odd_config(), ElementType::f32, 1);
  integers.tensor(name).type = ElementType::i32;
  EXPECT_THAT(message(odd_config(), integers), AllOf(HasSubstr(name), HasSubstr("I32")));
  ModelConfig tied = odd_config();
  tied.tie_word_embeddings = true;
  const RandomCheckpoint without_head(tied, ElementType::f32, 1);
  EXPECT_THAT(message(odd_config(), without_head), HasSubstr("has no tensor lm_head.weight"));
}

}  // namespace
}  // namespace hashevict::engine
