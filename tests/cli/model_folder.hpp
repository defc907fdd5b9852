// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "command.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::test {

/// A folder with a small random model, which tests may damage before they write it.
class ModelFolder {
 public:
  nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                           {"model_type", "llama"},
                           {"hidden_size", 16},
                           {"intermediate_size", 16},
                           {"num_hidden_layers", 1},
                           {"num_attention_heads", 2},
                           {"num_key_value_heads", 1},
                           {"head_dim", 8},
                           {"max_position_embeddings", 64},
                           {"vocab_size", 97}};

  std::vector<float>& tensor(const std::string& name) { return tensors_[name].second; }
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    std::vector<float> values(static_cast<size_t>(size));
    for (float& value : values) value = static_cast<float>(generator_() % 129) / 128.0F - 0.5F;
    tensors_[name] = {std::move(shape), std::move(values)};
  }

  explicit ModelFolder(int64_t vocab_size = 97) {
    config["vocab_size"] = vocab_size;
    add("model.embed_tokens.weight", {vocab_size, 16});
    add("lm_head.weight", {vocab_size, 16});
    for (const char* name : {"model.norm.weight", "model.layers.0.input_layernorm.weight",
                             "model.layers.0.post_attention_layernorm.weight"}) {
      add(name, {16});
    }
    const std::string layer = "model.layers.0.";
    for (const char* name : {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      add(layer + name + ".weight", {16, 16});
    }
    for (const char* name : {"self_attn.k_proj", "self_attn.v_proj"}) add(layer + name + ".weight", {8, 16});
  }

  std::string file(const std::string& name) const { return folder_.path(name); }

  void write() const {
    write_text(file("config.json"), config.dump());
    engine::SafetensorsWriter writer;
    for (const auto& [name, entry] : tensors_) writer.add(name, entry.first, std::span(entry.second));
    writer.write(file("model.safetensors"));
  }

 private:
  TemporaryFolder folder_;
  std::mt19937 generator_{1};
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> tensors_;
};

}  // namespace hashevict::test
